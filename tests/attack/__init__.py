"""Attacks and bad luck against real processes: strangers, wrong clocks, dead links, old journals.

Every module here but this one and `__main__` is one attack. It opens by saying who does what, and
has one function

    def attack(folder: Path, long: bool) -> str

which starts what it needs below `folder`, attacks it, stops all it has started, and returns one
line that says what held, with the figures. AssertionError says what did not hold.

`tests/system/test_attack.py` runs the short form of each, `make attack` the long one.
"""

import pkgutil

ATTACKS = tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "__main__"))
