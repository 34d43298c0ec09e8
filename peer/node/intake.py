"""What members send, handed to the part of the node that it concerns.

Owns what follows from an invalid block: its sender is cut off. Must never answer or store anything:
what is to be done goes into the effects of the turn.
"""

from collections.abc import Callable

from peer.consensus.block import InvalidBlockError
from peer.network.mesh import Flooded, Message
from peer.network.messages import (
    Answered,
    BlockIn,
    ChainIn,
    ForwardAnswered,
    Heard,
    Offered,
    PartsIn,
    SignedSeal,
)
from peer.node.effects import Effects
from peer.node.epoch_change import EpochChange
from peer.node.forwarding import Forwarding
from peer.node.ledger import KeyElsewhereError, Ledger
from peer.node.mesh_status import MeshStatus
from peer.node.state_fetcher import StateFetcher


class Intake:
    """`halt` is called with the reason why this peer must stop."""

    def __init__(
        self,
        ledger: Ledger,
        mesh_status: MeshStatus,
        epochs: EpochChange,
        fetcher: StateFetcher,
        forwarding: Forwarding,
        halt: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._mesh_status = mesh_status
        self._epochs = epochs
        self._fetcher = fetcher
        self._forwarding = forwarding
        self._halt = halt

    def take(self, message: Message, effects: Effects, now_ms: int) -> None:
        """Take in a message."""
        match message:
            case BlockIn(member, frame, asked):
                self.receive(member, frame, effects, now_ms, asked)
            case Heard(member, heartbeat):
                self._ledger.hear(member, heartbeat, now_ms)
                self._mesh_status.hear(member, heartbeat, now_ms)
                effects.heard = True
            case SignedSeal() | ChainIn():
                self._epochs.take(message, effects, now_ms)
            case Answered(member):
                self._ledger.answered(member, now_ms)
            case Offered():
                self._fetcher.offered(message, now_ms)
            case PartsIn():
                self._fetcher.take(message, now_ms)
            case ForwardAnswered():
                is_ordered = self._ledger.replica.is_ordered
                effects.replies += self._forwarding.answered(message, now_ms, is_ordered)
            case Flooded(member):
                self._mesh_status.flooded(member, now_ms)

    def receive(
        self, member: int, frame: bytes, effects: Effects, now_ms: int, asked: bool = False
    ) -> None:
        """Take in a block, which the member sent by itself unless it was `asked`."""
        ledger = self._ledger
        try:
            block = ledger.read(member, frame)
            if block is not None:
                agrees = ledger.replica.agrees(block.attestation)
                seat = ledger.epoch.numbers[block.author]
                self._mesh_status.compare(seat, block.attestation, agrees)
                ledger.receive(block, now_ms, member if asked else None)
        except InvalidBlockError as error:
            # Its links carry only what it sent on purpose: CURVE prevents any change.
            self._mesh_status.misbehaved(member, f"it sent an invalid block: {error}")
            effects.cut.add(member)
        except KeyElsewhereError as error:
            self._halt(str(error))
