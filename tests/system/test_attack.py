"""The attacks of `make attack`, each in its short form."""

from pathlib import Path

import pytest

from tests.attack import ATTACKS
from tests.attack.__main__ import run


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_does_no_harm(tmp_path: Path, name: str) -> None:
    print(run(name, tmp_path, long=False))
