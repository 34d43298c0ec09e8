"""A peer whose chain of epochs has holes fills them from others: real processes."""

import sqlite3
from contextlib import closing
from pathlib import Path

from engine import Side
from peer.membership.epochs import Certificate, Epoch, UncertifiedError, chain
from peer.membership.identity import Identity
from peer.replica.changes import AddMember, RemoveMember
from peer.storage import data_folder
from peer.storage.data_folder import JOURNAL_FILE
from peer.storage.epoch_table import epochs_of
from tests.support.chain_sources import stranger
from tests.support.real_mesh import RealPeer, order, placed_mesh, wait_for
from tests.system.test_membership import changed


def certificates(peer: RealPeer) -> list[Certificate]:
    """Those in its journal."""
    with closing(sqlite3.connect(peer.folder / JOURNAL_FILE)) as db:
        return [one.certificate for one in epochs_of(db)]


def is_proven(peer: RealPeer, first: Epoch) -> bool:
    """Whether a newcomer would believe what it hands out."""
    try:
        return [epoch.number for epoch in chain(first, certificates(peer))] == [1, 2]
    except UncertifiedError:
        return False


def test_certificates_that_a_trusted_seal_leaves_out_are_fetched_from_members(
    tmp_path: Path,
) -> None:
    """ORDER-47: whoever told it the seal had no signatures, or false ones."""
    with placed_mesh(tmp_path, observers="any", options=["--snapshot-every=64"]) as mesh:
        origin = Epoch.first(mesh.config)
        changed(mesh.peers[:2], AddMember("ghost", Identity.ephemeral().public.hex()))
        changed(mesh.peers, RemoveMember(3))
        first = mesh.peers[0]
        for _ in range(200):  # until no peer has the blocks that lead to the epoch
            first.client.execute([order("ann", Side.BUY, 10_000, 1)])
        assert is_proven(first, origin)
        none, forged = certificates(first)
        none.signatures.clear()
        forged.signatures.update(dict.fromkeys(forged.signatures, bytes(64)))
        seal = first.client.proposals().seal.hex()
        data_folder.create(tmp_path / "late")
        with stranger(mesh.config, [none, forged]) as port:
            options = [f"--trust=2:{seal}", f"--chain-at=127.0.0.1:{port}"]
            late = RealPeer(tmp_path / "late", mesh.file, [], options=options)
            mesh.peers.append(late)
            late.start()
            wait_for("the seal", lambda: [one.signatures for one in certificates(late)] == [{}, {}])
            late.stop()
        for member, (port, _) in zip(mesh.config.members, mesh.places, strict=True):
            late.add_options([f"--at={member.name}=127.0.0.1:{port}"])
        late.start()
        wait_for("the signatures", lambda: is_proven(late, origin))
        wait_for("the state", lambda: "took over the state after commit" in late.log())
        assert "ALARM" not in late.log()
