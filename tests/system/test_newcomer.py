"""README and docs, followed literally in a fresh copy of the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.newcomer import NO_NETWORK, prepare


@pytest.mark.timeout(600)
def test_all_commands_in_the_documents_work_in_order(libraries: None, tmp_path: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("needs a network of its own, by unshare: the ports of the documents are taken")
    prepare()
    command = ["unshare", "-rn", sys.executable, "-m", "tests.newcomer", str(tmp_path)]
    own = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "ARGS"))}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=own
    )
    if done.returncode == NO_NETWORK or done.stdout.startswith("unshare: "):
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout
