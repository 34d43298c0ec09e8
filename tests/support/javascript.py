"""The page's pure modules, run by Node: a test calls their functions as if they were Python's."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from discovery.grapes.nodejs import find_node

SCRIPTS = Path(__file__).parents[2] / "web" / "static" / "js"
# Reads calls, one a line, a function and its arguments; writes results. A BigInt becomes text, a
# Map its pairs.
_DRIVER = """
import { createInterface } from "node:readline";
const isMany = (value) => value instanceof Map || value instanceof Set;
const plain = (key, value) =>
  typeof value === "bigint" ? String(value) : isMany(value) ? [...value] : value;
const load = (name) => import(`${process.argv[1]}/${name}.js`);
for await (const line of createInterface({ input: process.stdin })) {
  const [code, args] = JSON.parse(line);
  let answer;
  try {
    answer = { result: await (0, eval)(code)(load, ...args) };
  } catch (error) {
    answer = { error: error.stack };
  }
  console.log(JSON.stringify(answer, plain));
}
"""


class Scripts:
    """One Node process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, code: str, *args: object) -> Any:
        """The result of a JavaScript function. Its first argument, `load`, imports a module of the
        page by its name."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([code, args]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer.get("result")

    def call(self, module: str, name: str, *args: object) -> Any:
        """The result of a function of `module`."""
        code = "async (load, module, name, args) => (await load(module))[name](...args)"
        return self.run(code, module, name, args)


@contextmanager
def running_scripts(zone: str = "UTC") -> Iterator[Scripts]:
    """`zone` is the time zone of the process."""
    node = find_node(print).node
    process = subprocess.Popen(
        [*node, "--input-type=module", "--eval", _DRIVER, SCRIPTS.as_uri()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"TZ": zone},
    )
    with process:
        yield Scripts(process)
        assert process.stdin is not None
        process.stdin.close()
