"""Feature levels: broken in whole nodes of two programs, which activate the next level."""

from tests.mutations import Mutation, edit

UPGRADES = "--epochs --mode crash --n 3,4,1"

LEVELS = (
    Mutation(
        "decoder by software instead of level",
        "a new program reads the blocks of the present level as those of its highest",
        10,
        UPGRADES,
        (
            edit(
                "replica/feature_level",
                "        return self._known[number - 1]\n",
                "        return self._known[-1]\n",
            ),
        ),
    ),
)
