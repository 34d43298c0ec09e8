"""A member whose journal is damaged comes back as its error says, under a new key."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from engine import Side
from peer.cli.run_commands import options_again
from peer.storage import data_folder
from peer.storage.data_folder import KEY_FILE
from tests.support.real_mesh import order, placed_mesh, wait_for
from tests.system.test_membership import agree, names_at


def peer(words: str, *more: str) -> str:
    """What `python -m peer` prints for a command that an error or a peer names."""
    call = [sys.executable, "-m", *shlex.split(words)[2:], *more]
    done = subprocess.run(call, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_damaged_journal_is_put_aside_and_its_peer_rejoins(tmp_path: Path) -> None:
    """The book and the size of the mesh stay."""
    with placed_mesh(tmp_path) as mesh:
        first, second, third = mesh.peers
        third.client.execute([order("ann", Side.BUY, 10_000, 5)])
        in_use = subprocess.run(
            [sys.executable, "-m", "peer", "put-aside", str(third.folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "journal.db is in use: is this peer running already?" in in_use.stderr
        third.kill()
        log = third.folder / "journal.db-log0"
        log.write_bytes(log.read_bytes().replace(b"ann", b"anN", 1))
        third.start()
        assert third.process is not None
        assert third.process.wait(10) == 1
        put_aside, join = re.findall(r"`(python -m peer [^`]*)`", third.log())
        assert "the journal is damaged: batch" in third.log()

        said = peer(put_aside)
        assert (third.folder / "aside-1" / KEY_FILE).exists()
        assert f"`{' '.join(shlex.split(join)[:5])}`" in said
        third.run_words(shlex.split(join)[1:])
        third.start()
        says = r"to take its place, one member runs `(python -m peer members DATA (replace .*?))`"
        found = wait_for("what to do", lambda: re.search(says, third.log()))
        agree(mesh, [first, second], *found[2].split())
        wait_for("its seat", lambda: "join: member peer3 in seat 4, epoch 1" in third.log())
        for each in mesh.peers:
            wait_for("the members", lambda each=each: names_at(each) == ["peer1", "peer2", "peer3"])
        third.client.execute([order("bob", Side.SELL, 10_000, 2)])
        assert len(mesh.agreed().trades) == 1


@pytest.mark.parametrize("left", ["", "key", "journal.db"])
def test_what_is_left_is_put_aside(tmp_path: Path, left: str) -> None:
    """Also twice, and after it was interrupted."""
    for number in (1, 2):
        data_folder.create(tmp_path)
        for file in [*tmp_path.glob("key"), *tmp_path.glob("journal.db*")]:
            if left and file.name != left:
                file.unlink()
        (tmp_path / "addresses.json").write_text("{}")
        aside = data_folder.put_aside(tmp_path)
        assert aside == tmp_path / f"aside-{number}"
        assert not left or [file.name for file in aside.iterdir()] == [left]
        assert (tmp_path / "addresses.json").exists(), "it helps to find the others again"
    assert data_folder.put_aside(tmp_path) is None


@pytest.mark.parametrize(
    "words",
    [
        "peer -v run --exit-with-parent --data a/b --mesh m.toml --grape http://g --port 3001",
        "peer run --mesh m.toml --grape http://g --data=a/b --port 3001",
        "peer join a/b --exit-with-parent --mesh m.toml --grape http://g --port 3001",
    ],
)
def test_the_options_of_before_are_told(words: str) -> None:
    assert options_again(words.split(), "a/b") == "--mesh m.toml --grape http://g --port 3001"
