"""gunicorn with one worker of threads, set up for one peer.

Owns the life of the serving process: the gateway starts after the fork (ZeroMQ does not survive
one), and every stream is told goodbye the moment the process is asked to stop. How connections wait
for their threads is the `worker`'s.
"""

import os
import resource
from typing import Any

import click
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from web.announcer import Announcer
from web.app import create_app
from web.config import Config
from web.tls import Front, context_of
from web.worker import STOP_SECONDS, Worker, gateway_of

CONNECTIONS_MAX = 1_000  # short requests and kept-alive connections; streams are the hub's


class Parent(Arbiter):  # type: ignore[misc]
    """The arbiter, which ends with the process that started it, if it is told to."""

    def __init__(self, app: "Server") -> None:
        super().__init__(app)
        self._started_by = os.getppid()
        self._follows = app.config.exit_with_parent

    def murder_workers(self) -> None:
        """Called at least once a second."""
        super().murder_workers()
        if self._follows and os.getppid() != self._started_by:
            click.echo("web: the process that started this gateway is gone: stopping", err=True)
            raise StopIteration


def _start(worker: Worker) -> None:
    """After the fork."""
    gateway = gateway_of(worker)
    gateway.start()
    port = worker.sockets[0].getsockname()[1]
    if gateway.config.tls_certificate:
        worker.front = _secure(gateway.config, port)
    worker.announcer = Announcer(gateway.config, port)
    worker.announcer.start()


def _secure(config: Config, inside: int) -> Front:
    front = Front(config.bind, context_of(config.tls_certificate, config.tls_key), inside)
    front.start()
    host = config.bind.rpartition(":")[0]
    click.echo(f"web: serving at https://{host}:{front.port}", err=True)
    return front


def _stop(worker: Worker) -> None:
    announcer = getattr(worker, "announcer", None)  # none if the start failed
    if announcer is not None:
        announcer.stop()
    gateway_of(worker).stop()
    front = getattr(worker, "front", None)
    if front is not None:
        front.stop()


def _say_where(arbiter: Any) -> None:
    if arbiter.app.config.tls_certificate:
        return  # the worker says it
    for listener in arbiter.LISTENERS:
        click.echo(f"web: serving at {listener}", err=True)


class Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__()

    def run(self) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a stream each needs one
        Parent(self).run()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": "127.0.0.1:0" if self.config.tls_certificate else self.config.bind,
            "proxy_protocol": "v1" if self.config.tls_certificate else "off",
            "worker_class": Worker,
            "workers": 1,
            "threads": self.config.threads,
            "worker_connections": CONNECTIONS_MAX,
            "keepalive": 15,
            "graceful_timeout": STOP_SECONDS,
            "loglevel": self.config.log_level,
            "when_ready": _say_where,
            "proc_name": "p2p-orderbook-web",
            "post_worker_init": _start,
            "worker_int": _stop,
            "worker_exit": lambda server, worker: _stop(worker),
            # gunicorn's own remote control.
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(self.config)
