"""A stand-in for a node: the real engine behind real ZeroMQ sockets, without a mesh.

For what a real node can't be made to do on request: hold commands back as without a quorum, lose a
message of the feed, restart with its counters at zero.
"""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import zmq

from engine import Cancel, Command, Event, Market, MarketState, Side, Trade
from engine.exchange import Exchange
from peer.client.endpoint import Endpoints
from peer.client.protocol import (
    Accounts,
    AccountUpdate,
    Committed,
    Done,
    Execute,
    FeedMessage,
    GetAccounts,
    GetMarkets,
    GetOrders,
    GetState,
    Level,
    Markets,
    MarketUpdate,
    MemberView,
    Mesh,
    Orders,
    Queued,
    Reason,
    Refused,
    Reply,
    Request,
    Result,
    Share,
    State,
    Withdraw,
    Withdrawn,
    topic,
)
from peer.node.publisher import shares_of
from peer.replica.signed import Entry, command_of, with_id
from peer.replica.trade import TRADES_KEPT, MarketTrade

MARKETS = (
    Market("BTC-USD", tick="0.01", lot="0.00000001"),
    Market("ETH-USD", tick="0.05", lot="0.001", quantity_min=2),
)
START_MS = 1_700_000_000_000


@dataclass
class Faults:
    """What goes wrong, until it is set back."""

    holds: bool = False  # commands are queued and not ordered
    refusal: Refused | None = None
    mute: bool = False  # no reply, no feed
    answers: bool = True  # it may speak only
    unready: list[Reason] = field(default_factory=list)
    lost_updates: int = 0  # of markets, from now on
    misfits: int = 0  # messages of the feed, from now on, of one frame too many
    alarms: list[str] = field(default_factory=list)
    disagrees: bool = False  # another peer's digest differs
    catching_up: str = ""
    loses_results: bool = False  # commands are ordered, but what came of them is not told
    held: list[tuple[bytes, bytes, list[int], list[Command]]] = field(default_factory=list)

    def clear(self) -> None:
        self.holds = self.mute = self.disagrees = self.loses_results = False
        self.answers = True
        self.unready.clear()
        self.catching_up = ""
        self.refusal, self.lost_updates, self.misfits = None, 0, 0
        self.alarms.clear()


class StandInNode:
    """Serves `node` and `feed` from `start` to `stop`."""

    def __init__(
        self, node: str, feed: str, markets: Sequence[Market] = MARKETS, name: str = "alpha"
    ) -> None:
        self.where = Endpoints(node, feed)
        self.markets = list(markets)
        self.name = name
        self.faults = Faults()
        self.exchange = Exchange(self.markets)
        self.trades: dict[str, deque[MarketTrade]] = defaultdict(lambda: deque(maxlen=TRADES_KEPT))
        self.trade_counts: dict[str, int] = defaultdict(int)
        self.commit = 0
        self.count = 0
        self.sources: list[str] = []  # of the commands that came
        self.time_ms = START_MS
        self._restarting = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "StandInNode":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(5)

    def restart(self) -> None:
        """Go away for a moment and come back with every counter of the feed at zero."""
        self._restarting = True
        while self._restarting:
            time.sleep(0.01)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._seqs: dict[bytes, int] = defaultdict(int)
            context = zmq.Context()
            self._router, self._pub = context.socket(zmq.ROUTER), context.socket(zmq.PUB)
            for sock, address in zip((self._router, self._pub), self.where, strict=True):
                sock.setsockopt(zmq.LINGER, 0)
                sock.bind(address)
            self._restarting = False
            while not self._stopping.is_set() and not self._restarting:
                self._turn()
            context.destroy(linger=0)

    def _turn(self) -> None:
        if self._router.poll(10):
            who, name, body = self._router.recv_multipart()
            if self.faults.answers and not self.faults.mute:
                self._answer(who, name, msgspec.msgpack.decode(body, type=Request))
        if not self.faults.holds and self.faults.held:
            held, self.faults.held = self.faults.held, []
            for who, name, ids, commands in held:
                self._order(who, name, ids, commands)
        if time.monotonic() - getattr(self, "_beat", 0.0) > 0.2 and not self.faults.mute:
            self._beat = time.monotonic()
            self._publish(topic("mesh"), self._mesh())

    def _answer(self, who: bytes, name: bytes, request: Request) -> None:
        match request:
            case Execute():
                self.sources.append(request.source)
                self._execute(who, name, request.commands)
            case GetState():
                self._reply(who, name, self._state(request))
            case GetOrders():
                self._reply(who, name, self._orders(request.account))
            case GetAccounts(limit):
                sizes = Counter(order.account for order in self.exchange.orders_open())
                self._reply(who, name, Accounts(sizes.most_common(limit)))
            case GetMarkets():
                self._reply(who, name, Markets(self.name, "00" * 16, self.markets))
            case Withdraw():
                self._reply(who, name, Withdrawn(self._withdraw(request)))

    def _execute(self, who: bytes, name: bytes, entries: list[Entry]) -> None:
        if self.faults.refusal is not None:
            self._reply(who, name, self.faults.refusal)
            return
        ids = []
        for _ in entries:
            self.count += 1
            ids.append(self.count * 256)
        given = [
            command_of(with_id(entry, number))  # as if every signature were good
            for entry, number in zip(entries, ids, strict=True)
        ]
        self._reply(who, name, Queued(ids))
        if self.faults.holds:
            self.faults.held.append((who, name, ids, given))
        else:
            self._order(who, name, ids, given)

    def _order(self, who: bytes, name: bytes, ids: list[int], commands: list[Command]) -> None:
        self.commit += 1
        self.time_ms = max(self.time_ms + 1, time.time_ns() // 1_000_000)
        expired = self.exchange.advance(self.time_ms)
        results = [
            Result(number, self.exchange.apply(command))
            for number, command in zip(ids, commands, strict=True)
        ]
        self._tell([*expired, *(event for result in results for event in result.events)])
        done = Done(self.commit, self.time_ms, results)
        lost = Refused("result_lost", "It was ordered, but its result is not known here.")
        self._reply(who, name, lost if self.faults.loses_results else done)

    def _tell(self, events: list[Event]) -> None:
        by_account: dict[str, list[Event]] = defaultdict(list)
        new_trades: dict[str, list[MarketTrade]] = defaultdict(list)
        for event in events:
            for account in _accounts_of(event):
                by_account[account].append(event)
            if isinstance(event, Trade):
                self.trade_counts[event.market] += 1
                trade = MarketTrade(
                    self.trade_counts[event.market],
                    self.time_ms,
                    event.price,
                    event.quantity,
                    event.side,
                    event.maker,
                    event.taker,
                )
                self.trades[event.market].appendleft(trade)
                new_trades[event.market].append(trade)
        for market in self.markets:
            self._tell_market(market.symbol, new_trades[market.symbol])
        for account, theirs in by_account.items():
            name = topic("account", account)
            seq = self._next(name)
            self._publish(name, AccountUpdate(account, seq, self.commit, self.time_ms, theirs))
        seq, digest = self._next(topic("commit")), self.exchange.digest()
        done = Committed(seq, self.commit, self.commit * 2, self.time_ms, digest)
        self._publish(topic("commit"), done)

    def _tell_market(self, symbol: str, trades: list[MarketTrade]) -> None:
        changes = self.exchange.changes(symbol)
        if not changes and not trades:
            return
        sides = {
            side: [(price, quantity, orders) for s, price, quantity, orders in changes if s == side]
            for side in Side
        }
        name = topic("market", symbol)
        seq = self._next(name)
        if self.faults.lost_updates:
            self.faults.lost_updates -= 1
            return
        shares = [self._shares(symbol, side, sides[side]) for side in Side]
        bids, asks = sides[Side.BUY], sides[Side.SELL]
        update = MarketUpdate(symbol, seq, self.commit, self.time_ms, bids, asks, trades, *shares)
        self._publish(name, update)

    def _shares(self, symbol: str, side: Side, levels: list[Level]) -> list[list[Share]]:
        return [shares_of(self.exchange.queue(symbol, side, level[0])) for level in levels]

    def _withdraw(self, request: Withdraw) -> list[int]:
        """A withdrawn command becomes a cancel of nothing, as in the node."""
        withdrawn = []
        for *_, ids, commands in self.faults.held:
            for place, number in enumerate(ids):
                if number in request.ids and commands[place].account == request.account:
                    commands[place] = Cancel(number, request.account, 0)
                    withdrawn.append(number)
        return withdrawn

    def _state(self, request: GetState) -> State | Refused:
        if request.market not in self.exchange.books:
            return Refused("unknown", "no such market")
        bids, asks = (self.exchange.depth(request.market, side, request.depth) for side in Side)
        return State(
            request.market,
            self._seqs[topic("market", request.market)],
            self.commit,
            self.time_ms,
            self.exchange.digest(),
            bids,
            asks,
            list(self.trades[request.market]),
            self._shares(request.market, Side.BUY, bids),
            self._shares(request.market, Side.SELL, asks),
        )

    def _orders(self, account: str) -> Orders:
        held = [command for *_, given in self.faults.held for command in given]
        mine = [(command.id, command) for command in held if command.account == account]
        seq = self._seqs[topic("account", account)]
        return Orders(account, seq, self.exchange.open_orders(account), mine)

    def _mesh(self) -> Mesh:
        alive = not self.faults.holds
        agrees = not self.faults.disagrees
        peers = [
            (self.name, True, 0, True),
            ("bravo", alive, 40 if alive else 9_000, agrees),  # what it said last
            ("charlie", False, -1, None),
        ]
        commit = self.commit
        members = [
            MemberView(name, f"{i}" * 64, f"127.0.0.1:300{i}", up, commit * 2, commit, age, ok)
            for i, (name, up, age, ok) in enumerate(peers, start=1)
        ]
        return Mesh(
            seq=self._next(topic("mesh")),
            peer=self.name,
            mesh="00" * 16,
            mode="crash",
            members=members,
            quorum_size=2,
            quorum=alive,
            round=self.commit * 2,
            commit=self.commit,
            digest=self.exchange.digest(),
            pending=sum(len(ids) for _, _, ids, _ in self.faults.held),
            finality_ms=3.2,
            halted="",
            alarms=self.faults.alarms,
            catching_up=self.faults.catching_up,
            oldest_pending_ms=12_345 if self.faults.held else 0,
            unready=self.faults.unready,
        )

    def _next(self, name: bytes) -> int:
        self._seqs[name] += 1
        return self._seqs[name]

    def _publish(self, name: bytes, message: FeedMessage) -> None:
        frames = [name, msgspec.msgpack.encode(message)]
        if self.faults.misfits:
            self.faults.misfits -= 1
            frames.append(b"")
        self._pub.send_multipart(frames)

    def _reply(self, who: bytes, name: bytes, reply: Reply) -> None:
        self._router.send_multipart([who, name, msgspec.msgpack.encode(reply)])


def _accounts_of(event: Event) -> tuple[str, ...]:
    if isinstance(event, Trade):
        return tuple({event.maker_account: 0, event.taker_account: 0})
    return () if isinstance(event, MarketState) else (event.account,)
