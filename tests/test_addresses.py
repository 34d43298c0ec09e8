"""A member that was announced at many places is found at the one where it is."""

import time
from collections.abc import Iterator

import pytest
import zmq

from discovery.grape import Address
from peer.block import NO_AUDIT
from peer.committee import Mode
from peer.config import Member, MeshConfig
from peer.frames import Heartbeat
from peer.identity import Identity
from peer.mesh import ADDRESSES_MAX, Mesh
from tests.real_mesh import MARKETS


@pytest.fixture
def pair() -> Iterator[tuple[Mesh, Mesh]]:
    """The wires of two members."""
    identities = [Identity.ephemeral() for _ in range(2)]
    members = [Member(f"m{n}", one.public.hex()) for n, one in enumerate(identities)]
    config = MeshConfig("pair", Mode.CRASH, 1_700_000_000_000, members, MARKETS, [])
    contexts: list[zmq.Context[zmq.Socket[bytes]]] = [zmq.Context(), zmq.Context()]
    first, second = (
        Mesh(context, config, identity, zmq.Poller())
        for context, identity in zip(contexts, identities, strict=True)
    )
    yield first, second
    for mesh, context in zip((first, second), contexts, strict=True):
        mesh.close()
        context.destroy()


def hears(mesh: Mesh, other: Mesh, seconds: float) -> bool:
    """Whether `mesh` hears a heartbeat of `other`, its member 1, in time."""
    beat = Heartbeat(mesh.config.id, 0, 1, other.fetch_port, (0, 0), 0, NO_AUDIT, NO_AUDIT, 0)
    for step in range(int(seconds * 50)):
        other.beat(beat)
        list(other.receive(step * 20))
        list(mesh.receive(step * 20))
        if mesh.links[1].heard_ms >= 0:
            return True
        time.sleep(0.02)
    return False


def nowhere(number: int) -> Address:
    return Address("127.0.0.9", 1 + number)


@pytest.mark.parametrize("where", ["first", "last"])
def test_many_wrong_addresses_do_not_hide_a_member(pair: tuple[Mesh, Mesh], where: str) -> None:
    mesh, other = pair
    wrong = [nowhere(n) for n in range(2 * ADDRESSES_MAX)]
    right = Address("127.0.0.1", other.port)
    for address in [right, *wrong] if where == "first" else [*wrong, right]:
        mesh.joined(1, address)
    assert len(mesh.links[1].addresses) == ADDRESSES_MAX
    assert hears(mesh, other, 10)


def test_an_address_that_is_announced_no_more_is_not_tried(pair: tuple[Mesh, Mesh]) -> None:
    mesh, other = pair
    for n in range(ADDRESSES_MAX):
        mesh.joined(1, nowhere(n))
    right = Address("127.0.0.1", other.port)
    mesh.joined(1, right)
    mesh.left(1, right)
    assert not hears(mesh, other, 3)
    assert len(mesh.links[1].addresses) == ADDRESSES_MAX
