"""What a peer must keep, and when: broken in whole nodes."""

from tests.mutations import Edit, Mutation, edit

CRASH_NODES = "--nodes --mode crash --n 3,4,5"
BYZANTINE_NODES = "--nodes --mode byzantine --n 4,5"

DISK = (
    Mutation(
        "the node stores after it has sent",
        "a crash forgets a block that others have, so the peer signs the round again",
        40,
        CRASH_NODES,
        (
            edit(
                "node/loop",
                "        self.ledger.persist(effects)\n        self._send(effects)\n",
                "        self._send(effects)\n        self.ledger.persist(effects)\n",
            ),
        ),
    ),
    Mutation(
        "blocks are written and not synced",
        "a power failure forgets a block that others have, so the peer signs the round again",
        40,
        CRASH_NODES,
        (
            edit(
                "storage/journal", "        self._blocks.sync()\n", "        self._blocks.write()\n"
            ),
        ),
    ),
    Mutation(
        "commands are acknowledged before they are stored",
        "a crash loses one that its submitter was told is safe",
        40,
        CRASH_NODES,
        (
            edit(
                "node/effects",
                "rests = self.publish or self.commands or",
                "rests = self.publish or",
            ),
        ),
    ),
    Mutation(
        "a command that waits for its block is acknowledged at once",
        "a crash loses one that its submitter was told is safe",
        40,
        CRASH_NODES,
        (
            edit(
                "node/submissions",
                "while self._unacknowledged and self._unacknowledged[0][0].stop <= "
                "self._saved_seq + 1:",
                "while self._unacknowledged:",
            ),
        ),
    ),
    Mutation(
        "commits are shown before what they rest on is stored",
        "after a crash a peer shows an older market than before it",
        40,
        CRASH_NODES,
        (
            edit(
                "node/ledger",
                "        elif effects.commits:\n            self.journal.write()\n",
                "",
            ),
        ),
    ),
    Mutation(
        "a snapshot forgets who may lead",
        "who goes on from it decides by other leaders",
        60,
        CRASH_NODES,
        (
            edit(
                "consensus/committer",
                "Decider(self.dag, checkpoint.schedule, ",
                "Decider(self.dag, Checkpoint.first(self.committee).schedule, ",
            ),
        ),
    ),
    Mutation(
        "a snapshot forgets who was present",
        "who goes on from it makes another schedule",
        60,
        CRASH_NODES,
        (
            edit(
                "consensus/committer",
                "self._presence = list(checkpoint.presence)",
                "self._presence = [0] * self.committee.size",
            ),
        ),
    ),
    Mutation(
        "a snapshot forgets which command is next",
        "commands are applied twice, or never",
        60,
        CRASH_NODES,
        (edit("replica/state_machine", "        replica.expected = list(head.expected)\n", ""),),
    ),
    Mutation(
        "a snapshot mixes two commits",
        "some of its pieces are those of a later commit, and nobody can go on from it",
        20,
        CRASH_NODES,
        (
            Edit(
                "engine/pieces.py",
                "not one.keep(key, before)",
                "False",
            ),
            edit(
                "node/snapshots",
                "            assert leaf_of(leaf.key, piece) == leaf, ",
                "            assert True, ",
            ),
        ),
    ),
    Mutation(
        "half of a snapshot counts as one",
        "a crash before the rest is written leaves a state that never was",
        40,
        CRASH_NODES,
        (
            edit(
                "node/snapshots",
                "if room > 0 and len(pieces) < most:",
                "if pieces:",
            ),
        ),
    ),
    Mutation(
        "a piece is accepted unverified",
        "one member that lies spoils what all others have helped with, again and again",
        40,
        BYZANTINE_NODES,
        (
            edit(
                "storage/tree_walk",
                "        spot = self._missing.get(digest)\n",
                "        fits = [d for d, s in self._missing.items() if _read_at(s.place, part)]\n"
                "        digest = next(iter(fits), digest)\n"
                "        spot = self._missing.get(digest)\n",
            ),
        ),
    ),
    Mutation(
        "a digest is kept after a change",
        "peers agree on a state of which it says nothing, and who goes on from it has another",
        40,
        CRASH_NODES,
        (edit("replica/state_machine", "        self._traded.update(trades)\n", ""),),
    ),
    Mutation(
        "a snapshot forgets what is committed above its gc round",
        "blocks are committed twice",
        60,
        BYZANTINE_NODES,
        (
            edit(
                "consensus/committer",
                "self._committed = set(checkpoint.committed)",
                "self._committed = set(Checkpoint.first(self.committee).committed)",
            ),
        ),
    ),
    Mutation(
        "an order of a name that is remembered is executed",
        "a client that sends its order to two members has two orders",
        20,
        CRASH_NODES,
        (
            edit(
                "replica/client_ids",
                "        if first is None:\n            self._make_room",
                "        if True:\n            self._make_room",
            ),
        ),
    ),
    Mutation(
        "client ids are in no piece of the state",
        "who goes on from a snapshot executes again what the others do not",
        40,
        CRASH_NODES,
        (
            edit(
                "replica/state_machine",
                "        for chunk, names in self.client_ids.changed_chunks():\n",
                "        for chunk, names in ():\n",
            ),
        ),
    ),
)
