"""A peer without locks: `python -m tests.bench.plain_peer run`, for `bench_security` alone.

The product has no switch for this. Here other parts are handed to its runner: sockets that do not
encrypt and know nobody, blocks signed with zeros that everybody believes.
"""

import logging
import os
from pathlib import Path

import click
import zmq

from peer.cli.runner import Options, Security, run
from peer.membership.identity import Identity, Verifier
from peer.network.authenticator import Asker, Authenticator
from peer.process import lifeline

WITHOUT = "BENCH_WITHOUT"  # of this program alone: "encryption", "signatures" or both


class OpenAuthenticator(Authenticator):
    """Lets everybody in, and takes everybody for a member."""

    def serve(self, socket: zmq.Socket[bytes], public_as: Identity | None = None) -> None:
        pass

    def join(self, socket: zmq.Socket[bytes], server_key: bytes) -> None:
        pass

    def asker(self, frame: zmq.Frame) -> Asker | None:
        return Asker(True, "anybody")


class Unsigned(Identity):
    def sign(self, data: bytes) -> bytes:
        return bytes(64)


class Believer(Verifier):
    def verify(self, data: bytes, signature: bytes) -> bool:
        return True


def security(without: str) -> Security:
    signs = "signatures" not in without
    return Security(
        Identity if signs else Unsigned,
        OpenAuthenticator if "encryption" in without else Authenticator,
        Verifier if signs else Believer,
    )


@click.group()
def main() -> None:
    """A peer that anybody can lie to."""


@main.command("run")
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--mesh", type=click.Path(path_type=Path), required=True)
@click.option("--grape", "grapes", multiple=True)
@click.option("--exit-with-parent", is_flag=True)
def run_(data: Path, mesh: Path, grapes: tuple[str, ...], exit_with_parent: bool) -> None:
    logging.basicConfig(level=logging.INFO)
    if exit_with_parent:
        lifeline.hold()
    options = Options(data, mesh, grapes)
    run(options, security(os.environ.get(WITHOUT, "")))


if __name__ == "__main__":
    main(prog_name="python -m tests.bench.plain_peer")
