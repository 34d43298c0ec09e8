"""Members of a real mesh come and go: real processes, sockets and Grapes."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
from click.testing import CliRunner

from discovery.grapes import running_grapes
from engine import Side
from peer.cli.main import main
from peer.cli.membership_guide import REMOVED_STATUS
from peer.membership.epochs import Epoch
from peer.membership.identity import Identity
from peer.replica.changes import (
    AddMember,
    Approve,
    CancelAccount,
    MemberChange,
    Propose,
    RemoveMember,
)
from peer.replica.governance import PROPOSALS_OPEN_MAX
from peer.storage import data_folder
from tests.support.chain_sources import stranger, succession
from tests.support.real_mesh import RealMesh, RealPeer, order, placed_mesh, wait_for

STATE = Path(__file__).parents[2] / ".run"


def members(peer: RealPeer, *words: str, status: int = 0) -> str:
    """What `python -m peer members` prints for this peer."""
    call = [sys.executable, "-m", "peer", "members", str(peer.folder), *words]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout or done.stderr


def agree(mesh: RealMesh, voters: list[RealPeer], *words: str) -> None:
    """One proposes, the others approve."""
    said = members(voters[0], *words)
    proposal = said.split()[1].rstrip(":")
    for peer in voters[1:]:
        members(peer, "approve", proposal)


def names_at(peer: RealPeer) -> list[str]:
    return [member.name for member in peer.mesh_view().members]


def joined(mesh: RealMesh, voters: list[RealPeer], name: str, *options: str) -> RealPeer:
    """A new peer that knows only the mesh file, once the voters have made it a member."""
    folder = mesh.file.parent / name
    key = data_folder.create(folder).public.hex()
    peer = RealPeer(folder, mesh.file, mesh.grapes, options=options)
    mesh.peers.append(peer)
    peer.start()
    wait_for("it runs", lambda: "recovered up to" in peer.log())
    wait_for("it follows", lambda: peer.state().commit == voters[0].state().commit)
    agree(mesh, voters, "add", name, key)
    wait_for("a member", lambda: name in names_at(peer))
    return peer


class Joining:
    """`python -m peer join --leave` as a process."""

    def __init__(self, mesh: RealMesh, name: str, *options: str) -> None:
        folder = mesh.file.parent / name
        self._log = mesh.file.parent / f"{name}.log"
        call = [sys.executable, "-u", "-m", "peer", "join", str(folder), "--leave", *options]
        call += ["--mesh", str(mesh.file), "--exit-with-parent"]
        call += [word for url in mesh.grapes for word in ("--grape", url)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def log(self) -> str:
        return self._log.read_text()

    def wait(self, what: str) -> re.Match[str]:
        """Until its output has this."""

        def said() -> re.Match[str] | None:
            assert self.process.poll() in (None, REMOVED_STATUS), self.log()
            return re.search(what, self.log())

        return wait_for(what, said)

    def kill(self) -> None:
        self.process.kill()
        self.stop()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> int:
        assert self.process.stdin is not None
        status = self.process.wait(30)
        self.process.stdin.close()
        return status


def test_a_peer_joins_trades_and_a_member_leaves(tmp_path: Path) -> None:
    """ORDER-45, ORDER-46, ORDER-49: 3 members become 4, and then 3 others, without a restart."""
    with running_grapes(1, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(tmp_path, urls, observers="any") as mesh:
            mesh.start()
            first, second, third = mesh.peers
            first.client.execute([order("ann", Side.BUY, 10_000, 5)])
            key = data_folder.create(tmp_path / "peer4").public.hex()
            fourth = RealPeer(tmp_path / "peer4", mesh.file, urls)
            mesh.peers.append(fourth)
            fourth.start()
            wait_for("it runs", lambda: "recovered up to" in fourth.log())
            wait_for("the newcomer follows", lambda: fourth.state().commit == first.state().commit)
            agree(mesh, [first, second], "add", "peer4", key)
            four = ["peer1", "peer2", "peer3", "peer4"]
            for peer in mesh.peers:
                wait_for("four members", lambda peer=peer: names_at(peer) == four)
            wait_for("its quorum", fourth.sees_quorum)
            [result] = fourth.client.execute([order("bob", Side.SELL, 10_000, 2)])
            assert result.id % 256 == 3, "the seat that took it"
            assert len(mesh.agreed().trades) == 1

            said = members(first, "leave")
            assert "peer1 has left: this peer may be switched off, and its key deleted" in said
            left = [second, third, fourth]
            for peer in left:
                wait_for("three members", lambda peer=peer: names_at(peer) == four[1:])
            wait_for("the removed one sees it", lambda: names_at(first) == four[1:])
            assert "this peer is no member any more" in first.log()
            first.stop()
            third.kill()
            third.start()
            wait_for("it runs again", lambda: "recovered up to" in third.log())
            wait_for("a restart in the epoch", lambda: names_at(third) == four[1:])
            for peer in left:
                peer.client.execute([order("cy", Side.SELL, 10_000, 1)])
            quantities = [trade.quantity for trade in mesh.agreed(left).trades]
            assert sorted(quantities) == [1, 1, 1, 2]
        for peer in mesh.peers:
            check_journal(peer.folder)


def check_journal(folder: Path) -> None:
    """`python -m peer journal` reads a journal of three epochs, and sees what is wrong there."""

    def said(*words: str) -> str:
        return CliRunner().invoke(main, ["journal", str(folder), *words]).output

    assert "all is well" in said("verify"), said("verify")
    lines = [json.loads(line) for line in said("export").splitlines()]
    commits = [line for line in lines if line["record"] == "commit"]
    assert {line["epoch"] for line in commits} == {0, 1, 2}
    assert [line["commit"] for line in commits] == list(range(1, len(commits) + 1))
    seats = {2: {1, 2, 3}, 1: {0, 1, 2, 3}, 0: {0, 1, 2}}
    blocks = [line for line in lines if line["record"] == "block"]
    assert all(line["author"] in seats[line["epoch"]] for line in blocks)
    assert " peer4 " in said("blocks", "--last", "0")
    with closing(sqlite3.connect(folder / "journal.db")) as db:
        forged = msgspec.msgpack.encode({0: bytes(64)})
        db.execute("UPDATE epochs SET signatures = ? WHERE number = 1", (forged,))
        db.commit()
    assert "a signature for epoch 1 is no member's" in said("verify")


def changed(voters: list[RealPeer], change: MemberChange) -> None:
    """All vote for a change of members, and wait until the next epoch is sealed."""
    epoch = voters[0].client.proposals().epoch
    propose = [Propose(0, (change,), force=True), Approve(0, -1, epoch)]
    proposal = voters[0].client.govern(propose)[0].id
    for peer in voters[1:]:
        peer.client.govern([Approve(0, proposal, epoch)])

    def is_sealed(peer: RealPeer) -> bool:
        found = peer.client.proposals()
        return found.sealed and found.epoch == epoch + 1

    for peer in voters:
        wait_for("the next epoch", lambda peer=peer: is_sealed(peer))


def test_a_newcomer_finds_members_of_whom_the_mesh_file_knows_none(tmp_path: Path) -> None:
    """ORDER-47: after 20 epochs all members of the mesh file are gone, and somebody hands out a
    forged chain."""
    with running_grapes(1, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(tmp_path, urls, size=1, observers="any") as mesh:
            mesh.start()
            first = mesh.peers[0]
            first.client.execute([order("ann", Side.BUY, 10_000, 5)])
            second = joined(mesh, [first], "second")
            for number in range(2, 11):  # a member that never comes, and goes
                changed([first, second], AddMember("ghost", Identity.ephemeral().public.hex()))
                changed([first, second], RemoveMember(number))
            agree(mesh, [second, first], "remove", "peer1")
            wait_for("one member", lambda: names_at(second) == ["second"])
            wait_for("the seal", lambda: ", sealed by" in members(second))
            first.stop()
            thief = Identity.ephemeral()
            forged = succession(Epoch.first(mesh.config), [thief, thief, thief])
            with stranger(mesh.config, forged) as port:
                third = joined(mesh, [second], "third", f"--chain-at=127.0.0.1:{port}")
                wait_for("its quorum", third.sees_quorum)
                assert third.client.proposals().epoch == 21
                said = third.mesh_view(lambda view: bool(view.alarms)).alarms
                assert "hands out a forged chain of epochs" in said[0]
            third.client.execute([order("bob", Side.SELL, 10_000, 2)])
            assert len(mesh.agreed([second, third]).trades) == 1


def test_join_makes_a_key_says_what_to_do_and_leaves_in_order(tmp_path: Path) -> None:
    """D5, ORDER-53: joining takes a quorum's approval, leaving none."""
    with running_grapes(1, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(tmp_path, urls) as mesh:
            mesh.start()
            first, second, third = mesh.peers
            guest = Joining(mesh, "dave")
            add, name, key = guest.wait(r"members DATA (add) (\w+) ([0-9a-f]{64})").groups()
            assert name == "dave"
            guest.wait("join: looking for the members")  # who let in only whom they propose
            members(first, add, name, key)
            waits = r"proposal (1-\d+) by peer1: waiting for approval: 1 of 2 needed \(peer1\)"
            members(second, "approve", guest.wait(waits)[1])
            guest.wait("join: member dave in seat 4, epoch 1")
            wait_for("in the view", lambda: names_at(third)[-1] == "dave")
            first.client.execute([order("ann", Side.BUY, 10_000, 5)])
            assert guest.stop() == 0
            assert "join: left in epoch 2: its key is of no use any more" in guest.log()
            wait_for("three members", lambda: len(names_at(third)) == 3)
            assert ", sealed by" in members(third)
            again = Joining(mesh, "dave")
            again.wait("join: no member any more, for good")
            assert again.ended() == REMOVED_STATUS


def test_votes_are_not_split_and_a_member_that_leaves_needs_no_room(tmp_path: Path) -> None:
    """ORDER-53: whoever proposes what is proposed already is told so."""
    with placed_mesh(tmp_path) as mesh:
        first, second, third = mesh.peers
        said = members(first, "remove", "peer3")
        assert "with 2 members the mesh may lose no member, and 1 with 3" in said
        assert "if the peer of peer3 still runs, keep it running until `members` shows" in said
        name = said.split()[1].rstrip(":")
        same = f"proposal {name} by peer1 has the same changes: approve {name}"
        wait_for("it", lambda: name in members(second))
        assert same in members(second, "remove", "peer3", status=2)
        said = members(second, "remove", "peer3", "--force")
        assert "1 of 2 needed (peer2); by force: it waits for nobody to be present" in said
        for number in range(PROPOSALS_OPEN_MAX):
            third.client.govern([Propose(0, (CancelAccount(f"a{number}"),))])
        assert "peer3 has left" in members(third, "leave")
        assert names_at(first) == ["peer1", "peer2"]
        assert f"proposal {name} is over: impossible at" in members(
            second, "approve", name, status=1
        )
        second.kill()
        listed = r"  1  peer1 +present\n +2  peer2 +away since \d{4}-"
        wait_for("who is away", lambda: re.search(listed, members(first)))


def test_an_open_mesh_lets_in_whoever_asks_and_names_who_dies(tmp_path: Path) -> None:
    """ORDER-54."""
    with running_grapes(1, STATE) as grapes:
        urls = [grape.spec.url for grape in grapes]
        with RealMesh(tmp_path, urls, observers="any", admission="open") as mesh:
            mesh.start()
            first = mesh.peers[0]
            guest = Joining(mesh, "dave")
            guest.wait("join: member dave in seat 4, epoch 1")
            wait_for("four members", lambda: len(names_at(first)) == 4)
            guest.kill()

            def dead() -> list[str]:
                return [one.name for one in first.mesh_view().members if not one.alive]

            wait_for("it is seen dead", lambda: dead() == ["dave"])
            again = Joining(mesh, "dave")
            again.wait("join: member dave in seat 4, epoch 1")
            wait_for("it is alive", lambda: dead() == [])
            assert again.stop() == 0
            wait_for("three members", lambda: len(names_at(first)) == 3)
            other = Joining(mesh, "other", "--name=peer1")
            other.wait("join: a member is called peer1: join by another --name or, to take its ")
            assert other.stop() == 0
