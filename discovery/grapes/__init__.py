"""Real Grapes for the demo and for tests: unmodified grenache-grape processes on this machine.

Owns their installation, start and end. No peer may need this package: a peer takes grape URLs, and
does not care who runs the grapes.

`python -m discovery.grapes` runs them in the background, `running_grapes()` during a `with` block.
"""

import contextlib
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from discovery.grapes.nodejs import NodeError
from discovery.grapes.parts import grape_program
from discovery.grapes.process import GrapeProcess, GrapesError, GrapeSpec, PortTakenError, start_all

__all__ = [
    "STATE",
    "GrapeProcess",
    "GrapeSpec",
    "GrapesError",
    "NodeError",
    "PortTakenError",
    "free_ports",
    "linked_specs",
    "running_grapes",
]

STATE = Path(".run")  # of the working directory
DHT_PORTS = (20001, 20002)
HTTP_PORTS = (30001, 40001)
_ATTEMPTS = 5


def linked_specs(
    dht_ports: Sequence[int] = DHT_PORTS,
    http_ports: Sequence[int] = HTTP_PORTS,
    join: Sequence[str] = (),
    host: str = "127.0.0.1",
    bind: str = "127.0.0.1",
) -> list[GrapeSpec]:
    """Grapes on this machine that know each other and the DHT nodes in `join` ("host:port").

    Raises ValueError if the port lists differ in length or a port repeats.
    """
    if not dht_ports or len(dht_ports) != len(http_ports):
        raise ValueError("expected at least one DHT port, and as many HTTP ports")
    if len(set(dht_ports)) < len(dht_ports) or len(set(http_ports)) < len(http_ports):
        raise ValueError("expected different ports for every Grape")
    return [
        GrapeSpec(
            dht_port=dht_port,
            http_port=http_port,
            join=(*(f"{host}:{port}" for port in dht_ports if port != dht_port), *join),
            host=host,
            bind=bind,
        )
        for dht_port, http_port in zip(dht_ports, http_ports, strict=True)
    ]


@contextlib.contextmanager
def running_grapes(count: int = 2, state: Path = STATE) -> Iterator[list[GrapeProcess]]:
    """Linked Grapes on free ports, ready to use; the end of the block ends them.

    `state` keeps the npm packages between calls. A single Grape works too. Raises GrapesError or
    NodeError.
    """
    program = grape_program(state, _silent)
    with contextlib.ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grapes-")))
        for attempt in range(1, _ATTEMPTS + 1):
            grapes = [
                GrapeProcess(spec, program, logs / f"{spec.http_port}.log")
                for spec in linked_specs(*free_ports(count))
            ]
            try:
                start_all(grapes, _silent)
            except PortTakenError:  # another program took it after free_ports()
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        for grape in grapes:
            stack.callback(grape.kill)
        yield grapes


def free_ports(count: int) -> tuple[list[int], list[int]]:
    """UDP and TCP ports that were free a moment ago, `count` of each."""
    with contextlib.ExitStack() as stack:
        ports: tuple[list[int], list[int]] = ([], [])
        for kind, found in zip((socket.SOCK_DGRAM, socket.SOCK_STREAM), ports, strict=True):
            for _ in range(count):
                probe = stack.enter_context(socket.socket(socket.AF_INET, kind))
                probe.bind(("127.0.0.1", 0))
                found.append(probe.getsockname()[1])
        return ports


def _silent(_message: object) -> None:
    """Drop a progress message."""
