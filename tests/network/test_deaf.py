"""A peer that speaks and hears nobody, as one does behind a wrong firewall rule.

Real processes, and a network in which one direction can be cut.
"""

from pathlib import Path

from engine import Side
from tests.chaos import on_a_cuttable_network
from tests.support.real_mesh import order, submit_at_once, wait_for

DEAF = "peer3 is deaf: it sends, but hears too few members for a quorum"


def test_a_deaf_peer_is_reported_by_all_and_the_others_continue_to_trade(tmp_path: Path) -> None:
    """ORDER-39."""
    with on_a_cuttable_network(tmp_path, seed=1) as chaos:
        *others, deaf = chaos.mesh.peers
        assert chaos.network is not None
        chaos.mesh.start()
        chaos.network.deafen(2)
        for peer in others:
            wait_for("the alarm", lambda peer=peer: f"ALARM {DEAF}" in peer.log())
        assert "NO QUORUM" in deaf.log()
        flows = [(peer.client, [order("a", Side.BUY, 100, 1)]) for peer in others]
        submit_at_once(flows)
        chaos.network.heal(2, lose=True)
        for peer in others:
            wait_for("its end", lambda peer=peer: f"cleared: {DEAF}" in peer.log(), 60)
            assert "NO QUORUM" not in peer.log()
        submit_at_once([(deaf.client, [order("a", Side.BUY, 100, 1)])])
        chaos.mesh.agreed()
