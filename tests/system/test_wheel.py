"""An installation from a wheel, without a checkout, is complete."""

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from discovery.grapes import free_ports
from discovery.grapes.parts import grape_program
from tests.support.checkout import ROOT, copied
from tests.support.real_mesh import wait_for

PACKAGES = ("engine", "discovery", "peer", "web")
STATE = ROOT / ".run"


class Installed:
    """A virtual environment with the wheel in it, and the libraries of this one after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "elsewhere"
        self.folder.mkdir()
        environment = folder / "venv"
        self.bin = environment / "bin"
        source = copied(folder / "source")
        run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
        run([*pip, *build, str(source)])
        (wheel,) = folder.glob("*.whl")
        run([*pip, "--python", str(self.bin / "python"), "install", "--no-deps", str(wheel)])
        shutil.rmtree(source)
        (packages,) = environment.glob("lib/python*/site-packages")
        (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.packages = packages

    def run(self, program: str, *options: object) -> str:
        return run([str(self.bin / program), *map(str, options)], self.folder)


def run(command: list[str], folder: Path | None = None) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=clean)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(libraries: None, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


def test_nothing_comes_from_the_checkout(installed: Installed) -> None:
    code = f"import {', '.join(PACKAGES)}; print({', '.join(f'{n}.__file__' for n in PACKAGES)})"
    places = installed.run("python", "-c", code).split()
    assert [Path(place).parents[1] for place in places] == [installed.packages] * len(PACKAGES)


def test_a_peer_serves_its_whole_page(installed: Installed) -> None:
    key = installed.run("p2p-orderbook", "keygen", "ann").strip()
    options = ["--member", f"ann={key}", "--market", "BTC-USD:0.01:0.00000001"]
    installed.run("p2p-orderbook", "mesh", "mesh.toml", *options)
    command = [str(installed.bin / "p2p-orderbook"), "run", "--data", "ann", "--mesh", "mesh.toml"]
    log = installed.folder / "log"
    with log.open("wb") as output:
        peer = subprocess.Popen(
            [*command, "--ui", "127.0.0.1:0"], cwd=installed.folder, stdout=output, stderr=output
        )
    try:
        found = wait_for("the page", lambda: re.search(r"serving at .*:(\d+)", log.read_text()))
        assert "missing" not in log.read_text()
        sources = ROOT / "web" / "static"
        files = [path.relative_to(sources) for path in sources.rglob("*") if path.is_file()]
        served = ["/", "/docs", *(f"/static/{name}" for name in files if name.name != ".stamp")]
        assert len(served) > 30
        assert 'src="/static/built/main-' in get(int(found[1]), "/").decode()
        for path in served:
            assert get(int(found[1]), path)
    finally:
        peer.send_signal(signal.SIGTERM)
        assert peer.wait(20) == 0


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, path
        return answer.read()
    finally:
        connection.close()


def test_it_runs_the_grapes_that_its_own_lock_file_names(installed: Installed) -> None:
    grape_program(STATE, print)
    state = installed.folder / "state"
    state.mkdir()
    (state / "grenache").symlink_to(STATE / "grenache")  # installed from the same lock file
    (dht,), (http_,) = free_ports(1)
    ports = ["--dht-port", dht, "--http-port", http_]
    said = installed.run("python", "-m", "discovery.grapes", "start", "--state", state, *ports)
    try:
        assert "installing" not in said
        assert f"http://127.0.0.1:{http_} is ready" in said
    finally:
        installed.run("python", "-m", "discovery.grapes", "stop", "--state", state)
