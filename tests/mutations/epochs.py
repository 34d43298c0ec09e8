"""The ends of epochs: broken in whole nodes that come and go."""

from tests.mutations import Mutation, edit

CRASH_EPOCHS = "--epochs --mode crash --n 3,4,1"

EPOCHS = (
    Mutation(
        "an epoch is entered before that is stored",
        "a crash forgets an epoch in which the peer has spoken already",
        40,
        CRASH_EPOCHS,
        (
            edit(
                "node/ledger",
                "            self.journal.add_pending(pending)\n"
                "            self.epochs.enter(epoch.number)\n"
                "            self.journal.sync()\n",
                "            pass\n",
            ),
        ),
    ),
    Mutation(
        "commands of void blocks are not sent again",
        "what a member that stays has acknowledged is lost",
        20,
        CRASH_EPOCHS,
        (
            edit(
                "node/epoch_change",
                "            submissions.requeue(ledger.expected)\n",
                "            pass\n",
            ),
        ),
    ),
    Mutation(
        "later commits of an epoch that has ended are applied",
        "who saw more in one turn has another state",
        20,
        CRASH_EPOCHS,
        (
            edit(
                "node/loop",
                "            if self.ledger.ends:  # the commits that follow are void\n",
                "            if self.ledger.ends and commit is effects.commits[-1]:\n",
            ),
            edit("node/ledger", "        assert self._next is None, ", "        assert True, "),
        ),
    ),
    Mutation(
        "the pieces at an epoch's end hold the commit rule's memory",
        "who goes on from them has another seal",
        20,
        CRASH_EPOCHS,
        (
            edit(
                "replica/state_machine",
                "self._note_checkpoint(Checkpoint.between(commit.number, commit.time_ms))",
                "self._note_checkpoint(Checkpoint.first(self.members.epoch.committee)._replace("
                "commit=commit.number, time_ms=commit.time_ms))",
            ),
        ),
    ),
)
