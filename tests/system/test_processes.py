"""The start and end of processes: none is left behind, none blocks another, and all say why."""

import functools
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from discovery.grapes.process import birth
from peer.cli.pid_file import Running
from peer.client.connection import NodeClient
from peer.client.endpoint import FOLDER, endpoint
from tests.support.real_mesh import RealMesh, RealPeer
from tests.support.real_mesh import wait_for as wait_for_s
from tests.system.test_demo import ports

NO_GRAPE = "--grape=http://127.0.0.1:1"
PATIENCE_S = 90.0  # a deadline for what begins and ends processes, on a busy machine
pytestmark = pytest.mark.timeout(400)

wait_for = functools.partial(wait_for_s, timeout_s=PATIENCE_S)


def running(words: str) -> list[int]:
    """The processes with these words in their command line."""
    done = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True)
    lines = (line.split(None, 1) for line in done.stdout.splitlines())
    return [int(pid) for pid, command in lines if words in command]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[RealPeer]:
    """A peer alone in its mesh, with a page; not started."""
    with RealMesh(tmp_path, [], size=1, ui=True) as mesh:
        yield mesh.peers[0]


# The end


@pytest.mark.parametrize("moment", ["first", "serving"])
def test_a_killed_peer_leaves_no_gateway(peer: RealPeer, moment: str) -> None:
    words = f"web --data {peer.folder}"
    peer.start()
    wait_for("the gateway's process", lambda: running(words))
    if moment == "serving":
        wait_for("the page", lambda: "serving at" in peer.log())
    peer.kill()
    wait_for("the gateway's end", lambda: not running(words))


def test_a_closed_terminal_ends_the_peer_cleanly(peer: RealPeer) -> None:
    peer.start()
    wait_for("the page", lambda: "serving at" in peer.log())
    assert peer.process is not None
    peer.process.send_signal(signal.SIGHUP)
    assert peer.process.wait(PATIENCE_S) == 0
    assert "stopped" in peer.log()
    assert not running(f"web --data {peer.folder}")


@pytest.mark.parametrize("module", ["peer", "web"])
def test_exit_with_parent_needs_a_pipe(tmp_path: Path, module: str) -> None:
    options = ["run", "--data", str(tmp_path), "--mesh", str(tmp_path / "mesh.toml")]
    if module == "web":
        options = ["--data", str(tmp_path)]
    command = [sys.executable, "-m", module, *options, "--exit-with-parent"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode != 0
    assert "needs a pipe" in done.stderr
    assert "Traceback" not in done.stderr


# The demo


class Demo:
    """`python -m peer demo` with one peer, on its own ports."""

    def __init__(self, folder: Path) -> None:
        first = ports(3)
        self.folder, self.state, self.ui = folder / "demo", folder / "state", first + 2
        self._log = folder / "demo.log"
        self.command = [sys.executable, "-m", "peer", "demo", f"--folder={self.folder}"]
        self.command += ["--peers=1", NO_GRAPE, f"--state={self.state}", f"--mesh-port={first}"]
        self.command += [f"--fetch-port={first + 1}", f"--ui-port={self.ui}"]
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            command = [*self.command, *options]
            self.started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self.started[-1]

    def serve(self) -> "subprocess.Popen[bytes]":
        process = self.start()
        wait_for("the page", self.is_served)
        return process

    def is_served(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.ui)) == 0

    def stop(self) -> "subprocess.CompletedProcess[str]":
        command = [*self.command, "--stop"]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)

    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    for process in demo.started:
        process.kill()
        process.wait()
    wait_for("the end of all", lambda: not running(str(demo.folder)))


def test_a_killed_demo_leaves_no_peer(demo: Demo) -> None:
    process = demo.start()
    wait_for("the peer", lambda: running(f"--exit-with-parent --data {demo.folder}"))
    process.kill()
    wait_for("the end of all", lambda: not running(str(demo.folder)))
    assert demo.stop().returncode == 0, "what it said of itself is no hindrance"
    assert not list(demo.state.iterdir())


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_demo_stops_its_peers_when_asked_to_stop(demo: Demo, number: int) -> None:
    process = demo.serve()
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 0
    assert not running(str(demo.folder))
    assert not list(demo.state.iterdir())


def test_a_demo_that_cannot_start_does_not_hide_the_other_from_stop(demo: Demo) -> None:
    first = demo.serve()
    assert demo.start().wait(PATIENCE_S) == 1
    assert "is in use: is this peer running already?" in demo.log()
    assert demo.stop().returncode == 0
    assert first.wait(PATIENCE_S) == 0
    assert not running(str(demo.folder))


def test_stop_ends_one_peer_that_was_started_alone(demo: Demo) -> None:
    demo.serve()
    alone = demo.start("--only=2", f"--mesh-port={ports(2)}", "--fetch-port=0", "--ui-port=0")
    wait_for("both", lambda: len(list(demo.state.glob("*.pid"))) == 2)
    done = demo.stop()
    guest, _, peers = done.stdout.partition("\n")
    assert guest.startswith("stopped the guest of process"), "while the others can let it go"
    assert peers.startswith("stopped the peers of process")
    assert [process.wait(PATIENCE_S) for process in demo.started] == [0, 0]
    assert alone.returncode == 0


def test_two_demos_that_start_at_once_make_one_mesh(demo: Demo) -> None:
    both = [demo.start(), demo.start()]
    wait_for("the page", demo.is_served)
    wait_for("the end of one", lambda: any(process.poll() is not None for process in both))
    assert demo.log().count("Making keys") == 1
    assert "Traceback" not in demo.log()
    assert sorted(process.poll() is None for process in both) == [False, True]


def test_stop_spares_another_process_with_the_same_pid(demo: Demo) -> None:
    demo.state.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        wait_for("its birth", lambda: birth(other.pid))
        stale = Running(other.pid, "an earlier process")
        (demo.state / f"demo-{other.pid}.pid").write_bytes(msgspec.json.encode(stale))
        (demo.state / "demo-7.pid").write_text("{")  # cut off
        done = demo.stop()
        assert (done.returncode, done.stdout) == (0, "")
        assert other.poll() is None
        other.communicate(b"\n")
    assert not list(demo.state.iterdir())


def test_a_closed_output_stops_no_peer(demo: Demo) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(demo.command, stdout=writing, stderr=writing)
    demo.started.append(process)
    os.close(writing)
    wait_for("the page", demo.is_served)
    os.close(reading)
    for _ in range(2):  # each is a line in the log of the peer
        shutil.rmtree(demo.folder / "alice" / FOLDER)
        wait_for("the sockets", (demo.folder / "alice" / FOLDER / "node").exists)
    assert process.poll() is None


# The page


def test_a_taken_port_is_named_and_the_page_comes_when_it_is_free(peer: RealPeer) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        peer.start("--ui", f"127.0.0.1:{port}")
        said = f"cannot serve the page at 127.0.0.1:{port}: Address already in use"
        wait_for("the complaint", lambda: said in peer.log())
        wait_for("the next start", lambda: "another start in 2 s" in peer.log())
        assert "Traceback" not in peer.log()
        assert peer.state().commit == 0, "the node works without its page"
    wait_for("the page", lambda: f"serving at http://127.0.0.1:{port}" in peer.log())


def test_the_page_comes_back_whenever_its_process_ends(peer: RealPeer) -> None:
    words = f"web --data {peer.folder}"
    peer.start()
    wait_for("the page", lambda: "serving at" in peer.log())
    (before,) = running(words)
    os.kill(before, signal.SIGKILL)
    wait_for("another one", lambda: peer.log().count("serving at") == 2)
    assert "another start in 2 s" in peer.log()
    assert running(words) != [before]


# The local sockets


def test_no_other_user_can_create_the_local_socket_first(tmp_path: Path) -> None:
    squatted = tmp_path / f"p2p-orderbook-{os.getuid()}"
    squatted.mkdir()
    squatted.chmod(0o777)
    with RealMesh(tmp_path, [], size=1) as mesh:
        peer = RealPeer(
            mesh.peers[0].folder, mesh.file, [], env=os.environ | {"TMPDIR": str(tmp_path)}
        )
        peer.start()
        peer.state()
        folder = peer.folder / FOLDER
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {path.name for path in folder.iterdir()} == {"node"}
        peer.stop()
        folder.chmod(0o755)
        peer.start()
        assert peer.process is not None
        assert peer.process.wait(PATIENCE_S) == 1
        assert "must be a folder of this user alone" in peer.log()
        peer.close()


def test_removed_local_sockets_are_made_again(peer: RealPeer) -> None:
    peer.start()
    peer.state()
    for _ in range(2):
        shutil.rmtree(peer.folder / FOLDER)
        wait_for("the socket", lambda: (peer.folder / FOLDER / "node").exists())
        with NodeClient(endpoint(peer.folder)) as newcomer:
            assert newcomer.markets().markets
        peer.state()  # over the old connection
    assert "node was removed: made again" in peer.log()


def test_a_data_folder_with_a_long_name_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with RealMesh(folder, [], size=1) as mesh:
        peer = mesh.peers[0]
        peer.start()
        peer.state()
        assert {path.name for path in (peer.folder / FOLDER).iterdir()} == {"node"}


def test_a_missing_folder_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no peer's data folder"):
        endpoint(tmp_path / "nobody")


# The disk


@pytest.mark.parametrize("bytes_", [10, 4_096, 20_000])
def test_a_peer_can_be_made_after_a_full_disk_has_room(tmp_path: Path, bytes_: int) -> None:
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({bytes_}, {bytes_})); "
    made = "from peer.cli.main import entry; import sys; sys.argv[1:] = ['keygen', 'ann']; entry()"
    done = subprocess.run(
        [sys.executable, "-c", limit + made], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert list((tmp_path / "ann").iterdir()) == []
    command = [sys.executable, "-m", "peer", "keygen", str(tmp_path / "ann")]
    assert subprocess.run(command, capture_output=True).returncode == 0
