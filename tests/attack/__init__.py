"""Attacks and bad luck against real processes: strangers, wrong clocks, dead links, old journals.

Every module here except this one and `__main__` is one attack. Its docstring says who does what,
and it has one function

    def attack(folder: Path, long: bool) -> str

which starts what it needs in `folder`, attacks it, stops everything, and returns one line with the
results and figures. An AssertionError says which check failed.

`tests/system/test_attack.py` runs the short form of each, `make attack` the long one.
"""

import pkgutil

ATTACKS = tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "__main__"))
