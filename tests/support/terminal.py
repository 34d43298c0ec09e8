"""A shell that a test types into, as a person would."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SHOWN_MAX = 2000


class Terminal:
    """A shell in the checkout `folder`; exported variables stay. `inside` is a command that runs it
    elsewhere, such as in a namespace; `prompt` says in the test's output who types."""

    def __init__(
        self,
        folder: Path,
        inside: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        prompt: str = "",
    ) -> None:
        self._prompt = prompt
        self._errors = (folder.parent / "errors").open("ab")
        self._shell = subprocess.Popen(
            [*inside, "bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def type(self, command: str, good: tuple[int, ...] = (0,)) -> str:
        """The output of a command. AssertionError if its status is not one of those in `good`."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        print(f"{self._prompt}$ {command}", flush=True)
        self._shell.stdin.write(f"{command}\nprintf '\\nended %d\\n' $?\n")
        self._shell.stdin.flush()
        said: list[str] = []
        while not (line := self._shell.stdout.readline()).startswith("ended "):
            assert line, "the shell is gone"
            said.append(line)
        print("".join(said).strip()[:SHOWN_MAX], flush=True)
        assert int(line.split()[1]) in good, f"{command}\n{line}"
        return "".join(said).strip()

    def close(self) -> None:
        self._shell.communicate()
        self._errors.close()
