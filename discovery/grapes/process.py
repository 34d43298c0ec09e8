"""One Grape as a process: its command line, whether it is ready, whether its ports are free.

Owns how a Grape runs. Must never end a process that it did not start, nor change grenache-grape:
it is the published package.
"""

import os
import signal
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import psutil

from discovery.grape import Grape, GrapeError

PEER_AGE_MS_MAX = 120_000  # without --dpa, 1.0.0's command line never forgets a dead peer
PAYLOAD_BYTES_MAX = 8192  # without this option there is no limit
READY_S_MAX = 30.0
STOP_S_MAX = 5.0
_POLL_S = 0.03
PROBE_NAME = "p2p-orderbook/probe"  # no peer announces or looks up this name


class GrapesError(Exception):
    """A Grape does not run; the message says what to do."""


class PortTakenError(GrapesError):
    """Another program uses a port that a Grape needs."""


class GrapeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One Grape: its UDP port, its HTTP port, and the DHT nodes to join as "host:port".

    `host` is the address of this machine for other machines. HTTP listens on `bind`, the UDP socket
    on all addresses. All addresses are IPv4.
    """

    dht_port: int
    http_port: int
    join: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    bind: str = "127.0.0.1"

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.bind == "0.0.0.0" else self.bind
        return f"http://{host}:{self.http_port}"

    def options(self) -> list[str]:
        """The command line of grenache-grape."""
        # A Grape that lists itself as a bootstrap node also stores announcements itself. Otherwise
        # it refuses every announcement while no other node is up.
        bootstrap = (f"{self.host}:{self.dht_port}", *self.join)
        return [
            f"--dp={self.dht_port}",
            f"--aph={self.http_port}",
            f"--bn={','.join(bootstrap)}",
            f"--bind={self.bind}",
            f"--dpa={PEER_AGE_MS_MAX}",
            f"--check_maxPayloadSize={PAYLOAD_BYTES_MAX}",
        ]


class GrapeProcess:
    """A Grape to start, and to start again after it was killed.

    `program` is the command line of grenache-grape without options, `log` the file for its output.
    """

    def __init__(self, spec: GrapeSpec, program: Sequence[str], log: Path) -> None:
        self.spec = spec
        self.program = program
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start the process; it is not ready yet. Raises PortTakenError or GrapesError."""
        assert self._process is None, "started already"
        _check_ports(self.spec)
        with self.log.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    [*self.program, *self.spec.options()],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C in the terminal is not meant for it
                )
            except OSError as error:
                raise GrapesError(f"cannot run {self.program[0]}: {error}") from error

    def await_listening(self) -> None:
        """Return once the HTTP API takes connections. Raises what await_ready() raises."""
        self._await(self._connect)

    def await_ready(self) -> None:
        """Return once the Grape takes announcements: there is no other sign that it is ready.

        Raises PortTakenError, or GrapesError if it ends or takes longer than READY_S_MAX.
        """
        grape = Grape([self.spec.url])
        self._await(lambda: grape.announce(PROBE_NAME, self.spec.http_port))

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def release(self) -> None:
        """Let it outlive this program, which no longer ends it."""
        assert self._process is not None, "not started"
        self._process.returncode = 0  # else Popen warns that it is dropped while running
        self._process = None

    def _connect(self) -> None:
        url = urllib.parse.urlsplit(self.spec.url)
        socket.create_connection((url.hostname, url.port), timeout=READY_S_MAX).close()

    def _await(self, attempt: Callable[[], object]) -> None:
        assert self._process is not None, "not started"
        deadline_s = time.monotonic() + READY_S_MAX
        while True:
            if self._process.poll() is not None:
                raise self._ended()
            try:
                attempt()
            except (GrapeError, OSError) as error:
                if time.monotonic() > deadline_s:
                    raise GrapesError(
                        f"{self.spec.url} is not ready ({error}); its log is {self.log}"
                    ) from error
                time.sleep(_POLL_S)
            else:
                return

    def _ended(self) -> GrapesError:
        tail = "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-15:])
        if "EADDRINUSE" in tail:
            return PortTakenError(
                f"another program took TCP port {self.spec.http_port} or UDP port "
                f"{self.spec.dht_port} just now. Stop it, or choose other ports.\n{tail}"
            )
        return GrapesError(f"the Grape on {self.spec.url} ended at once:\n{tail}")


def start_all(grapes: Sequence[GrapeProcess], on_started: Callable[[GrapeProcess], None]) -> None:
    """Start all; return when all are ready. If one fails, end all and raise.

    Calls `on_started` for each process at once. Raises PortTakenError or GrapesError.
    """
    try:
        for grape in grapes:
            grape.start()
            on_started(grape)
        # A Grape that is asked before its neighbour listens takes seconds to answer.
        for grape in grapes:
            grape.await_listening()
        for grape in grapes:
            grape.await_ready()
    except BaseException:
        for grape in grapes:
            grape.kill()
        raise


def birth(pid: int) -> str | None:
    """A mark of this process that no later process with its pid has; None if it does not run."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        # Seconds since the system's start: the time of day may be set meanwhile.
        return f"{process.create_time() - psutil.boot_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def end(pid: int, born: str, patience_s: float = STOP_S_MAX) -> bool:
    """End the process with this pid if its birth is `born`; returns whether it was.

    Sends SIGTERM, and SIGKILL after `patience_s`. Raises GrapesError if it does not end.
    """
    if birth(pid) != born:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s:
            if birth(pid) != born:
                return True
            time.sleep(_POLL_S)
    raise GrapesError(f"process {pid} does not end")


def _check_ports(spec: GrapeSpec) -> None:
    checks = (
        ("TCP", socket.SOCK_STREAM, spec.bind, spec.http_port, "its HTTP API"),
        ("UDP", socket.SOCK_DGRAM, "0.0.0.0", spec.dht_port, "the DHT"),
    )
    for protocol, kind, host, port, use in checks:
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Node does
            try:
                probe.bind((host, port))
            except OSError as error:
                raise PortTakenError(
                    f"a Grape needs {protocol} port {port} on {host} for {use}: "
                    f"{error.strerror}.{_holder(spec)} Stop the program that has it, "
                    "or choose other ports."
                ) from error


def _holder(spec: GrapeSpec) -> str:
    try:
        Grape([spec.url], timeout_s=1.0).lookup(PROBE_NAME)
    except GrapeError:
        return ""
    return f" A Grape that was not started from here answers on {spec.url}."
