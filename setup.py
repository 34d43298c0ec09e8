"""The wheel: for any machine, or with FAST=1 in the environment with the modules compiled here.

All else is in setup.cfg.
"""

import os
import runpy
from pathlib import Path

from setuptools import Distribution, setup

NATIVE = runpy.run_path("engine/native/__init__.py", run_name="native")


class Compiled(Distribution):
    """For one kind of Python on one kind of machine."""

    def has_ext_modules(self) -> bool:
        return True


if os.environ.get("FAST"):
    place: Path = NATIVE["BUILT"] / NATIVE["stamp"](Path())
    if not place.is_dir():
        raise SystemExit("FAST=1: nothing is compiled from these sources: run make fast first")
    setup(distclass=Compiled)
else:
    setup(exclude_package_data={"engine.native": ["built/*"]})
