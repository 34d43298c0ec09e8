"""The published grenache-grape, in the version that the lock file beside this module pins."""

from pathlib import Path

from discovery.grapes.nodejs import Say, find_node, npm_ci


def grape_program(state: Path, say: Say) -> list[str]:
    """The command line of grenache-grape; installs it in `state` if needed.

    Raises NodeError.
    """
    modules = npm_ci(Path(__file__).parent, state / "grenache", say)
    return [*find_node(say).node, str(modules / "grenache-grape" / "bin" / "grape.js")]
