"""The published grenache-grape, as the lock file beside this module pins it."""

from pathlib import Path

from discovery.grapes.nodejs import Say, find_node, npm_ci


def grape_program(state: Path, say: Say) -> list[str]:
    """The command line that runs grenache-grape, installed in `state` if need be.

    Raises NodeError.
    """
    modules = npm_ci(Path(__file__).parent, state / "grenache", say)
    return [*find_node(say).node, str(modules / "grenache-grape" / "bin" / "grape.js")]
