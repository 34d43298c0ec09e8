"""A stand-in for a node: the real engine behind real ZeroMQ sockets, without a mesh.

It can do what a real node does not do on request: hold commands back as without a quorum, lose an
update for lack of room, restart with its counters at zero.
"""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence

import msgspec
import zmq

from engine import Cancel, Command, Event, Market, MarketState, MarketStatus, Side, Trade
from engine.exchange import Exchange
from peer.client.endpoint import Endpoint
from peer.client.programs import Caller, Programs
from peer.client.protocol import (
    DEPTH_MAX,
    Accounts,
    AccountUpdate,
    Committed,
    Done,
    Execute,
    GetAccounts,
    GetMarkets,
    GetOrders,
    GetState,
    Level,
    MarketList,
    Markets,
    MarketUpdate,
    Mesh,
    Orders,
    PendingUpdate,
    Proposals,
    Queued,
    Refused,
    Reply,
    Request,
    Result,
    Share,
    Stamp,
    State,
    Streamed,
    Subscribe,
    Unsubscribe,
    Unsubscribed,
    Update,
    Withdraw,
    Withdrawn,
    topic,
)
from peer.client.queue_places import GetQueue, Place, Queue
from peer.replica.signed import Entry, Signed, command_of, with_id
from peer.replica.trade import TRADES_KEPT, MarketTrade
from tests.support.web_faults import Faults, mesh_of

MARKETS = (
    Market("BTC-USD", tick="0.01", lot="0.00000001"),
    Market("ETH-USD", tick="0.05", lot="0.001", quantity_min=2),
)
START_MS = 1_700_000_000_000


class StandInNode:
    """Serves at the address `node` from `start` to `stop`."""

    def __init__(self, node: str, markets: Sequence[Market] = MARKETS, name: str = "alpha") -> None:
        self.where = Endpoint(node)
        self.markets = list(markets)
        self.name = name
        self.faults = Faults()
        self.unanswered: list[Request] = []
        self.exchange = Exchange(self.markets)
        self.trades: dict[str, deque[MarketTrade]] = defaultdict(lambda: deque(maxlen=TRADES_KEPT))
        self.trade_counts: dict[str, int] = defaultdict(int)
        self.commit = 0
        self.count = 0
        self.sources: list[str] = []  # of the commands that came
        self.time_ms = START_MS
        self._restarting = False
        self._is_full = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "StandInNode":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(5)

    def restart(self) -> None:
        """Stop for a moment, and start again with all counters of the feed at zero."""
        self._restarting = True
        while self._restarting:
            time.sleep(0.01)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._programs = Programs(self._send)
            context = zmq.Context()
            self._router = context.socket(zmq.ROUTER)
            self._router.router_mandatory = True
            self._router.linger = 0
            self._router.bind(self.where.address)
            self._restarting = False
            while not self._stopping.is_set() and not self._restarting:
                self._turn()
            context.destroy(linger=0)

    def _turn(self) -> None:
        for caller, request in self._programs.starting_again():
            self._answer(caller, request)
        if self._router.poll(10):
            *who, body = self._router.recv_multipart()
            request = msgspec.msgpack.decode(body, type=Request)
            if self.faults.answers and not self.faults.mute:
                self._answer(Caller(*who), request)
            else:
                self.unanswered.append(request)
        if self.faults.held and (self.faults.releases or not self.faults.holds):
            held, self.faults.held = self.faults.held, []
            self.faults.releases = False
            for caller, ids, commands in held:
                self._order(caller, ids, commands)
        if time.monotonic() - getattr(self, "_beat", 0.0) > 0.2 and not self.faults.mute:
            self._beat = time.monotonic()
            self._publish(self._mesh(self._next("mesh")), "mesh")

    def _answer(self, caller: Caller, request: Request) -> None:
        match request:
            case Execute():
                self.sources.append(request.source)
                self._execute(caller, request.commands)
            case Subscribe(topics):
                self._programs.subscribe(caller, topics, self._state_of)
            case Unsubscribe():
                self._programs.unsubscribe(caller)
                self._reply(caller, Unsubscribed())
            case Withdraw(account):
                withdrawn = self._withdraw(request)
                self._tell_pending(account, [], withdrawn)
                self._reply(caller, Withdrawn(withdrawn))
            case _:
                self._reply(caller, self._reply_to(request))

    def _reply_to(self, question: Request) -> Reply:
        match question:
            case GetState(market, depth):
                return self._state(market, depth)
            case GetOrders(account):
                return self._orders(account)
            case GetAccounts(limit):
                sizes = Counter(order.account for order in self.exchange.orders_open())
                return Accounts(sizes.most_common(limit))
            case GetQueue():
                return self._queue(question)
            case GetMarkets():
                return Markets(self.name, "00" * 16, self.markets)
        return Proposals(0, 0, [], [], [])

    def _state_of(self, name: str) -> Streamed | Refused:
        kind, _, rest = name.partition("/")
        match kind:
            case "market":
                return self._state(rest, DEPTH_MAX)
            case "account":
                return self._orders(rest)
            case "commit":
                return self._committed(self._programs.seq("commit"))
            case "markets":
                statuses = [MarketStatus.OPEN] * len(self.markets)
                return MarketList(self._programs.seq("markets"), self.markets, statuses)
            case "proposals":
                return Proposals(self._programs.seq("proposals"), 0, [], [], [])
        return self._mesh(self._programs.seq("mesh"))

    def _execute(self, caller: Caller, entries: list[Entry]) -> None:
        refusal = self.faults.refusal
        if self.faults.follows and not all(isinstance(entry, Signed) for entry in entries):
            refusal = Refused("not_member", "this peer follows the mesh: it forwards signed orders")
        if refusal is not None:
            self._reply(caller, refusal)
            return
        ids = []
        for _ in entries:
            self.count += 1
            ids.append(self.count * 256)
        given = [
            command_of(with_id(entry, number))  # as if every signature were good
            for entry, number in zip(entries, ids, strict=True)
        ]
        for command in given:
            self._tell_pending(command.account, [(command.id, command)], [])
        self._reply(caller, Queued(ids))
        if self.faults.holds:
            self.faults.held.append((caller, ids, given))
        else:
            self._order(caller, ids, given)

    def _order(self, caller: Caller, ids: list[int], commands: list[Command]) -> None:
        self.commit += 1
        self.time_ms = max(self.time_ms + 1, time.time_ns() // 1_000_000)
        expired = self.exchange.advance(self.time_ms)
        results = [
            Result(number, self.exchange.apply(command))
            for number, command in zip(ids, commands, strict=True)
        ]
        self._tell([*expired, *(event for result in results for event in result.events)])
        self._number(results)
        done = Done(self.commit, self.time_ms, results)
        lost = Refused("result_lost", "It was ordered, but its result is not known here.")
        self._reply(caller, lost if self.faults.loses_results else done)

    def _number(self, results: list[Result]) -> None:
        """Add the numbers of the trades, which are the market's last ones."""
        left = dict(self.trade_counts)
        for result in reversed(results):
            for event in reversed(result.events):
                if isinstance(event, Trade):
                    result.trades.insert(0, left[event.market])
                    left[event.market] -= 1

    def _tell(self, events: list[Event]) -> None:
        by_account: dict[str, list[Event]] = defaultdict(list)
        stamps: dict[str, list[Stamp]] = defaultdict(list)
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
                for account in _accounts_of(event):
                    stamps[account].append((trade.number, trade.time_ms))
        for market in self.markets:
            self._tell_market(market.symbol, new_trades[market.symbol])
        for account, theirs in by_account.items():
            name = topic("account", account)
            seq = self._next(name)
            when = self.commit, self.time_ms
            self._publish(AccountUpdate(account, seq, *when, theirs, stamps[account]), name)
        self._publish(self._committed(self._next("commit")), "commit")

    def _committed(self, seq: int) -> Committed:
        digest = self.exchange.digest()
        return Committed(seq, self.commit, self.commit * 2, self.time_ms, digest)

    def _tell_pending(
        self, account: str, pending: list[tuple[int, Command]], withdrawn: list[int]
    ) -> None:
        name, now_ms = topic("account", account), time.time_ns() // 1_000_000
        update = PendingUpdate(account, self._next(name), now_ms, pending, withdrawn)
        self._publish(update, name)

    def _tell_market(self, symbol: str, trades: list[MarketTrade]) -> None:
        changes = self.exchange.changes(symbol)
        if not changes and not trades:
            return
        sides = {
            side: [(price, quantity, orders) for s, price, quantity, orders in changes if s == side]
            for side in Side
        }
        name = topic("market", symbol)
        shares = [self._shares(symbol, side, sides[side]) for side in Side]
        bids, asks = sides[Side.BUY], sides[Side.SELL]
        seq = self._next(name)
        update = MarketUpdate(symbol, seq, self.commit, self.time_ms, bids, asks, trades, *shares)
        self._is_full = self.faults.lost_updates > 0
        self.faults.lost_updates -= self._is_full
        self._publish(update, name)
        self._is_full = False

    def _shares(self, symbol: str, side: Side, levels: list[Level]) -> list[list[Share]]:
        return [self.exchange.shares(symbol, side, level[0]) for level in levels]

    def _withdraw(self, request: Withdraw) -> list[int]:
        """A withdrawn command becomes a cancel of nothing, as in the node."""
        withdrawn = []
        for _, ids, commands in self.faults.held:
            for place, number in enumerate(ids):
                if number in request.ids and commands[place].account == request.account:
                    commands[place] = Cancel(number, request.account, 0)
                    withdrawn.append(number)
        return withdrawn

    def _state(self, market: str, depth: int) -> State | Refused:
        if market not in self.exchange.books:
            return Refused("unknown", "no such market")
        bids, asks = (self.exchange.depth(market, side, depth) for side in Side)
        return State(
            market,
            self._programs.seq(topic("market", market)),
            self.commit,
            self.time_ms,
            self.exchange.digest(),
            bids,
            asks,
            list(self.trades[market]),
            self._shares(market, Side.BUY, bids),
            self._shares(market, Side.SELL, asks),
        )

    def _orders(self, account: str) -> Orders:
        held = [command for *_, given in self.faults.held for command in given]
        mine = [(command.id, command) for command in held if command.account == account]
        seq = self._programs.seq(topic("account", account))
        return Orders(account, seq, self.exchange.open_orders(account), mine)

    def _queue(self, request: GetQueue) -> Queue:
        places = []
        for number in request.ids:
            order, ahead = self.exchange.order(number), self.exchange.ahead(number, 1_000)
            if order and ahead and order.account == request.account:
                places.append(Place(number, order.market, *ahead))
        return Queue(self.commit, places)

    def _mesh(self, seq: int) -> Mesh:
        return mesh_of(self.faults, seq, self.name, self.commit, self.exchange.digest())

    def _next(self, name: str) -> int:
        return self._programs.seq(name) + 1

    def _publish(self, update: Update, name: str) -> None:
        self._programs.publish(update, name)

    def _reply(self, caller: Caller, reply: Reply) -> None:
        self._programs.reply(caller, reply)

    def _send(self, caller: Caller, body: bytes) -> bool:
        if self._is_full:
            return False
        frames = [caller.connection, caller.request, body]
        if self.faults.misfits:
            self.faults.misfits -= 1
            frames.append(b"")
        try:
            self._router.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise ConnectionError(error.strerror) from None
        return True


def _accounts_of(event: Event) -> tuple[str, ...]:
    if isinstance(event, Trade):
        return tuple({event.maker_account: 0, event.taker_account: 0})
    return () if isinstance(event, MarketState) else (event.account,)
