"""Tests of the tests' own meshes: they start reliably, and report why when they do not."""

import errno
import socket
from pathlib import Path

import pytest
import zmq

from tests.support.real_mesh import RealMesh, held_ports


def test_a_held_port_is_reserved_for_a_peer() -> None:
    with held_ports(2) as (port, other):
        assert port != other
        for _ in range(2):
            with zmq.Context() as context, context.socket(zmq.XPUB) as listener:
                listener.bind(f"tcp://127.0.0.1:{port}")
                with socket.create_connection(("127.0.0.1", port)):
                    pass
        with socket.socket() as stranger, pytest.raises(OSError, match="in use") as error:
            stranger.bind(("127.0.0.1", other))
        assert error.value.errno == errno.EADDRINUSE


def test_waiting_for_a_peer_that_has_ended_fails_with_its_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, RealMesh(tmp_path, []) as mesh:
        mesh.peers[0].start("--port", str(taken.getsockname()[1]))
        with pytest.raises(AssertionError, match=r"the peer ended:\s+.*\s+error: cannot listen on"):
            mesh.wait_quorum(mesh.peers[:1])
