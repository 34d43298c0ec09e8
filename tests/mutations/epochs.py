"""The ends of epochs: broken in whole nodes that come and go."""

from tests.mutations import Mutation, edit

CRASH_EPOCHS = "--epochs --mode crash --n 3,4,1"
ALL_EPOCHS = "--epochs --n 3,1,4"

EPOCHS = (
    Mutation(
        "an epoch is entered before that is stored",
        "a crash forgets an epoch in which the peer has spoken already",
        40,
        CRASH_EPOCHS,
        (
            edit(
                "node/ledger",
                "            self.epochs.enter(epoch.number)\n            self.journal.sync()\n",
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
        "a restart forgets the commands of void blocks",
        "a crash right after the end of an epoch loses what was acknowledged",
        40,
        CRASH_EPOCHS,
        (
            edit(
                "node/ledger",
                "            self.enter_next()\n            ready, more",
                "            self.enter_next()\n            own.clear()\n            ready, more",
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
    Mutation(
        "approvals are carried over to the next epoch",
        "members that are gone, or wanted it then, have decided",
        40,
        ALL_EPOCHS,
        (
            edit(
                "replica/governance",
                "self._put(msgspec.structs.replace(proposal, approvals=(), against=()))",
                "self._put(proposal)",
            ),
        ),
    ),
    Mutation(
        "two ends of an epoch in one commit",
        "the second takes effect on members that are no more",
        40,
        ALL_EPOCHS,
        (
            edit(
                "replica/governance",
                "if self._is_enough(proposal) and self._ending is None:",
                "if self._is_enough(proposal):",
            ),
            edit(
                "replica/governance",
                "if self._ending is None and not rules.waits(proposal):",
                "if not rules.waits(proposal):",
            ),
        ),
    ),
    Mutation(
        "evidence of an epoch halts the next one",
        "a key that was replaced stops the mesh after it",
        40,
        CRASH_EPOCHS,
        (
            edit(
                "node/lifecycle",
                "if self._epoch is None or epoch <= self._epoch or not self.enter(State.RUNNING):",
                "if True:",
            ),
        ),
    ),
    Mutation(
        "a state of a later epoch is taken without the chain",
        "whoever offers one says who has signed it",
        100,
        ALL_EPOCHS,
        (
            edit(
                "node/state_fetcher",
                "if manifest.epoch > ledger.epochs.newest.number:",
                "if manifest.epoch > ledger.epochs.newest.number + 999:",
            ),
            edit(
                "node/epoch_book",
                "        if epoch is None:\n            return False\n",
                "        if epoch is None:\n            return True\n",
            ),
        ),
    ),
    Mutation(
        "a seal without the level",
        "the members of two levels of rules sign the same",
        20,
        ALL_EPOCHS,
        (
            edit(
                "membership/epochs",
                "digest_of(_encode(self.origin))",
                "digest_of(_encode(msgspec.structs.replace(self.origin, level=0)))",
            ),
        ),
    ),
    Mutation(
        "a seal without the digest of the state",
        "the members of two states sign the same",
        20,
        ALL_EPOCHS,
        (
            edit(
                "membership/epochs",
                "digest_of(_encode(self.origin))",
                'digest_of(_encode(msgspec.structs.replace(self.origin, digest=b"")))',
            ),
        ),
    ),
    Mutation(
        "a candidate counts before it has shown the state",
        "the new members are a quorum only by name",
        40,
        ALL_EPOCHS,
        (
            edit(
                "replica/members",
                "sum(map(self._is_fresh, (key for _, key in plan.added)))",
                "len(plan.added)",
            ),
        ),
    ),
    Mutation(
        "peers do not keep the signatures that are ordered",
        "some hand out a chain with a gap, and newcomers stop there",
        40,
        ALL_EPOCHS,
        (
            edit(
                "node/ledger",
                "certificate = self.replica.members.certificate",
                "certificate = None",
            ),
            edit("node/epoch_book", "if not self.is_certified(origin.number):", "if False:"),
        ),
    ),
    Mutation(
        "new members certify their own epoch",
        "nobody who knows only the old ones can verify it",
        40,
        ALL_EPOCHS,
        (
            edit(
                "replica/members",
                "if not before.certifies(self.epoch.seal, sealed.signatures):",
                "if not self.epoch.certifies(self.epoch.seal, sealed.signatures):",
            ),
        ),
    ),
    Mutation(
        "a second certified seal is not noticed",
        "two meshes go on under one name",
        40,
        ALL_EPOCHS,
        (edit("node/epoch_book", "if before.certifies(seal, signatures):", "if False:"),),
    ),
    Mutation(
        "candidates are not followed",
        "nobody is left who has the last blocks of an epoch",
        100,
        "--epochs --mode crash --n 1,3",
        (edit("node/candidates", "[:FOLLOWED_MAX]", "[:0]"),),
    ),
    Mutation(
        "a peer hears old members after it took over a later state",
        "others cannot read what it says, and it does not hear them",
        40,
        CRASH_EPOCHS,
        (
            edit(
                "node/epoch_change",
                "        self.stand()\n        if self._ledger.me is None:\n",
                "        if self._ledger.me is None:\n",
            ),
        ),
    ),
    Mutation(
        "whoever proposes to remove a member decides",
        "one member throws all others out",
        40,
        ALL_EPOCHS,
        (
            edit(
                "replica/changes",
                "    return tuple(changes) == (RemoveMember(seat),)\n",
                "    return all(isinstance(each, RemoveMember) for each in changes)\n",
            ),
        ),
    ),
    Mutation(
        "nobody speaks while a change waits",
        "in an idle mesh nobody becomes present, and a member cannot leave",
        60,
        CRASH_EPOCHS,
        (
            edit(
                "replica/governance", "return bool(self.accepted) and seat", "return False and seat"
            ),
        ),
    ),
    Mutation(
        "a peer goes on though its disk has failed",
        "what it says then it forgets, and says otherwise after a restart",
        40,
        CRASH_EPOCHS,
        (
            edit(
                "node/loop",
                "        self._halt(why, State.DISK_FAILED)\n",
                '        self.ledger.journal._database.failed = ""\n',
            ),
        ),
    ),
)
