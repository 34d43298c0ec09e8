"""The clients of simulated nodes: what they want, and what they were told.

Owns the orders until it is known what becomes of them.
"""

from random import Random
from typing import TYPE_CHECKING

from engine import Cancel, Command, Side, Submit, TimeInForce
from peer.client.programs import Caller
from peer.client.protocol import Done, Execute, Queued, Refused, Reply
from tests.simulator.node import MARKETS, NodePeer
from tests.simulator.node_referee import must
from tests.simulator.world import EPOCH_MS, MS

if TYPE_CHECKING:
    from tests.simulator.noderun import NodeRun

LIVES_MS = (50, 800, 1_500, 86_400_000)  # of orders good till a date
RETRY_US = 400 * MS  # a client that got no answer asks again
ASKS_TWO = 0.1  # of all orders are sent to two members at once
ASKS_ANOTHER = 0.4  # of those sent again go to another member
SYMBOL = MARKETS[0].symbol


class Order:
    """What a client wants, until it knows that it will happen."""

    def __init__(self, number: int, member: int, command: Command, born_us: int) -> None:
        self.number = number
        self.member = member
        self.command = command
        self.born_us = born_us
        self.queued = False
        self.refused = False  # its node is no member

    @property
    def name(self) -> str:
        """Empty for a cancel, which is sent only once."""
        return self.command.client_id if isinstance(self.command, Submit) else ""


class Clients:
    """Those of all members. Each asks its own member, again and again until it is told that its
    order is safe, always under the same name; some ask another member too, or after a while."""

    codes: tuple[str, ...] = ("result_lost", "halted", "busy")  # with which orders are refused

    def __init__(self, run: "NodeRun", random: Random) -> None:
        self._run = run
        self._random = random
        self._orders: list[Order] = []
        self._open: dict[int, Order] = {}  # those with a name of which nobody knows what becomes
        self._safe: dict[int, list[tuple[int, str]]] = {}  # by address: ids and accounts
        for peer in run.peers:
            self.know(peer)

    def know(self, peer: NodePeer) -> None:
        """A node that may have clients."""
        self._safe[peer.address] = []

    def submit(self, member: int) -> None:
        order = Order(len(self._orders), member, self._command(member), self._run.world.now_us)
        self._orders.append(order)
        if order.name:
            self._open[order.number] = order
        self._ask(order, self._run.node_at(member))
        if order.name and self._random.random() < ASKS_TWO:
            self._ask(order, self._another())
        if order.name:
            self._run.world.after(RETRY_US, self._ask_again, order)

    def _another(self) -> NodePeer:
        """A member of the first epoch."""
        return self._random.choice([peer for peer in self._run.peers if peer.member is not None])

    def _command(self, member: int) -> Command:
        random = self._random
        if self._safe[member] and random.random() < 0.2:
            target, account = random.choice(self._safe[member])
            return Cancel(0, account, target)
        gtc, ioc, gtd = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.GTD
        tif = random.choice((gtc, gtc, ioc, gtd))
        now_ms = EPOCH_MS + self._run.world.now_us // MS
        return Submit(
            0,
            f"account-{random.randrange(4)}",
            SYMBOL,
            Side(random.randrange(2)),
            quantity=random.randint(1, 20),
            price=random.randint(95, 105),
            tif=tif,
            expire_ms=now_ms + random.choice(LIVES_MS) if tif is gtd else 0,
            client_id=f"{member}-{len(self._orders)}",
        )

    def _ask_again(self, order: Order) -> None:
        home = self._run.node_at(order.member)
        if order.queued or order.refused or home.lost:
            return
        changes = self._random.random() < ASKS_ANOTHER
        self._ask(order, self._another() if changes else home)
        self._run.world.after(RETRY_US, self._ask_again, order)

    def _ask(self, order: Order, peer: NodePeer) -> None:
        if not peer.lost:
            caller = Caller(b"client", order.number.to_bytes(8, "big"))
            peer.ask(caller, Execute([order.command]))

    def replied(self, peer: NodePeer, caller: Caller, reply: Reply) -> None:
        order = self._orders[int.from_bytes(caller.request, "big")]
        if isinstance(reply, Queued):
            order.queued = True
            self._open.pop(order.number, None)
            if order.name:
                self._safe[peer.address].append((reply.ids[0], order.command.account))
        if isinstance(reply, Queued | Done):
            self._run.referee.told(peer, order, reply)
        elif isinstance(reply, Refused):
            must(reply.code in self.codes, f"{order.command} is refused: {reply}")
            order.refused |= reply.code == "not_member" and peer.address == order.member
            if order.refused:
                self._open.pop(order.number, None)

    def waiting(self) -> list[Order]:
        """Of living members, those nobody has promised anything about."""
        return [each for each in self._open.values() if self._run.node_at(each.member).up]
