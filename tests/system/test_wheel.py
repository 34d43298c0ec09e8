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
from engine import why_plain
from engine.native import BUILT
from tests.support.checkout import ROOT, copied
from tests.support.real_mesh import wait_for

PACKAGES = ("engine", "discovery", "peer", "web")
STATE = ROOT / ".run"


class Installed:
    """A virtual environment with the wheel in it, and the libraries of this one after it. A `fast`
    wheel has the modules that are compiled here."""

    def __init__(self, folder: Path, fast: bool) -> None:
        self.folder = folder / "elsewhere"
        self.folder.mkdir()
        environment = folder / "venv"
        self.bin = environment / "bin"
        source = copied(folder / "source")
        run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
        if (ROOT / BUILT).exists():  # also beside a wheel for any machine, which must leave it out
            shutil.copytree(ROOT / BUILT, source / BUILT)
        run([*pip, *build, str(source)], FAST="1" if fast else "")
        (wheel,) = folder.glob("*.whl")
        self.tag = wheel.stem.partition("-")[2].partition("-")[2]
        run([*pip, "--python", str(self.bin / "python"), "install", "--no-deps", str(wheel)])
        shutil.rmtree(source)
        (packages,) = environment.glob("lib/python*/site-packages")
        (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.packages = packages

    def run(self, program: str, *options: object) -> str:
        return run([str(self.bin / program), *map(str, options)], self.folder)

    def why_plain(self) -> str:
        return self.run("python", "-c", "import engine; print(engine.why_plain)").strip()


def run(command: list[str], folder: Path | None = None, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env = {**clean, **environment}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", params=["plain", "compiled"])
def installed(
    libraries: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Installed:
    fast = request.param == "compiled"
    if fast and why_plain:
        pytest.skip(f"{why_plain}; make test-fast runs this")
    return Installed(tmp_path_factory.mktemp("wheel"), fast)


def test_a_wheel_with_compiled_modules_uses_them_and_says_for_which_python(
    installed: Installed,
) -> None:
    if installed.tag == "py3-none-any":
        assert installed.why_plain() == "nothing is compiled"
        assert not list(installed.packages.glob("engine/**/*.so"))
        return
    assert installed.tag.startswith(f"cp{sys.version_info[0]}{sys.version_info[1]}-")
    assert installed.why_plain() == ""
    code = "import engine.book; print(engine.book.__file__)"
    assert Path(installed.run("python", "-c", code).strip()).is_relative_to(
        installed.packages / BUILT
    )


def test_a_source_edited_after_the_installation_counts(installed: Installed) -> None:
    source = installed.packages / "engine" / "order_terms.py"
    before = source.read_bytes()
    source.write_bytes(before + b"# edited\n")
    try:
        code = "import engine.book; print(engine.book.__file__)"
        assert installed.run("python", "-c", code).strip().endswith("/engine/book.py")
    finally:
        source.write_bytes(before)


def test_no_wheel_of_what_was_compiled_from_other_sources(libraries: None, tmp_path: Path) -> None:
    source = copied(tmp_path / "source")
    (source / BUILT / "1234").mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", str(source)]
    env = {**os.environ, "FAST": "1"}
    done = subprocess.run(pip, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode
    said = done.stdout + done.stderr
    assert "nothing is compiled from these sources: run make fast first" in said


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
        plain = installed.why_plain()
        assert f"runs {'plain: ' + plain if plain else 'compiled'}" in log.read_text()
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
