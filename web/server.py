"""The gateway's process: its socket, its signals, its one loop.

Owns the life of the process. When it is asked to stop, it closes all streams at once. When a part
fails, the process ends with status 1, and its supervisor starts another one. `connections` serves
the connections.
"""

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import click
from waitress import wasyncore

from peer.process.lifeline import on_end
from web.app import create_app
from web.config import Config
from web.direct import DirectOrders
from web.gateway import Gateway
from web.serve.announcer import Announcer
from web.serve.connections import Listener
from web.serve.tls import TlsProxy

TURN_SECONDS = 0.5
LOOK_SECONDS = 1.0
STOP_SECONDS = 1.0  # for requests in progress when the process is asked to stop
THREADS_STOP_SECONDS = 0.5  # idle ones need a few milliseconds
BACKLOG = 1_024
DESCRIPTORS_KEPT = 128  # for everything except clients

log = logging.getLogger(__name__)


def fitted(config: Config, limit: int) -> Config:
    """The config with as many clients as `limit` descriptors allow. A client takes one, or three
    with TLS."""
    clients = (limit - DESCRIPTORS_KEPT) // (3 if config.tls_cert else 1)
    connections = min(config.connections, clients // 3)
    return replace(config, connections=connections, streams=min(config.streams, clients * 2 // 3))


class CannotListenError(click.ClickException):
    """The gateway cannot listen on an address; the message says why."""


class Server:
    """`limit` is the number of descriptors that the process may have. `run` returns its status."""

    def __init__(self, config: Config, limit: int) -> None:
        self._config = config = fitted(config, limit)
        self._app = create_app(config)
        self._gateway: Gateway = self._app.extensions["gateway"]
        self._direct = DirectOrders(config, self._gateway, self._app.extensions["metrics"])
        self._stopping = False
        self._status = 0

    def run(self) -> int:
        logging.basicConfig(level=self._config.log_level.upper())
        logging.getLogger("waitress.queue").setLevel(
            logging.ERROR
        )  # it warns whenever requests wait
        bind = "127.0.0.1:0" if self._config.tls_cert else self._config.bind
        with _bound(bind) as sock:
            port: int = sock.getsockname()[1]
            front = self._secure(port) if self._config.tls_cert else None
            client_of = front.client_of if front else lambda port: None
            listener = Listener(self._app, self._config, sock, client_of, self._direct)
            on_end(lambda: self._stop(listener.pull_trigger))
            if front is None:
                click.echo(f"web: serving at {_url('http', sock.getsockname())}", err=True)
            self._serve(listener, Announcer(self._config, port), front)
        return self._status

    def _secure(self, inside: int) -> TlsProxy:
        config = self._config
        most = config.connections + config.streams
        front = TlsProxy(config.bind, (config.tls_cert, config.tls_key), inside, most)
        try:
            front.start()
        except (OSError, ValueError, OverflowError) as error:
            raise _cannot_listen(config.bind, error) from None
        host = config.bind.rpartition(":")[0]
        click.echo(f"web: serving at https://{host}:{front.port}", err=True)
        return front

    def _stop(self, wake: Callable[[], None]) -> None:
        """Stop the loop. Called on a signal."""
        self._stopping = True
        self._gateway.hub.stop()
        wake()

    def _serve(self, listener: Listener, announcer: Announcer, front: TlsProxy | None) -> None:
        self._gateway.start()
        looked, wait = 0.0, TURN_SECONDS
        while not self._stopping:
            listener.turn(wait)
            now = time.monotonic()
            wait = min(TURN_SECONDS, self._direct.expire(now))
            if now - looked >= LOOK_SECONDS:
                looked = now
                listener.look(now)
                announcer.look(self._gateway.is_of_a_member)
                self._look(front)
        announcer.stop()
        self._finish(listener)
        self._gateway.stop()
        if front is not None:
            front.stop()

    def _look(self, front: TlsProxy | None) -> None:
        dead = [*self._gateway.dead_parts, *(["tls"] if front and not front.is_alive else [])]
        if dead:
            log.critical("parts of the gateway have ended: %s", ", ".join(dead))
            self._stopping, self._status = True, 1
            self._gateway.hub.stop()

    def _finish(self, listener: Listener) -> None:
        """Accept no more, and let requests in progress finish for STOP_SECONDS."""
        listener.accepting = False
        until = time.monotonic() + STOP_SECONDS
        while listener.is_busy and time.monotonic() < until:
            listener.turn(0.05)
        listener.task_dispatcher.shutdown(timeout=THREADS_STOP_SECONDS)
        wasyncore.close_all(listener._map)
        listener.turns.close()


def _bound(bind: str) -> socket.socket:
    """A socket that listens on HOST:PORT; [::] is all addresses, IPv4 and IPv6. CannotListenError
    if that is impossible."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    try:
        family, *_ = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(
            (host, int(port)), family=family, backlog=BACKLOG, dualstack_ipv6=both
        )
    except (OSError, ValueError, OverflowError) as error:
        raise _cannot_listen(bind, error) from None


def _cannot_listen(bind: str, error: Exception) -> CannotListenError:
    why = error.strerror if isinstance(error, OSError) else error
    return CannotListenError(f"cannot serve the page at {bind}: {why}")


def _url(scheme: str, where: tuple[str, int]) -> str:
    host = f"[{where[0]}]" if ":" in where[0] else where[0]
    return f"{scheme}://{host}:{where[1]}"
