"""The feed: what changed in the markets, told to the programs on this machine.

Owns the messages of the feed but the mesh view, and the answers to questions about the book. Reads
the replica, never changes it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from engine import Command, Event, Side, Trade
from peer.client import protocol
from peer.client.endpoint import Local
from peer.client.protocol import DEPTH_MAX
from peer.replica.execution_record import MEMBERS_SPACE
from peer.replica.state_machine import Applied, Replica
from peer.replica.trade import MarketTrade

ASKED_FOR_MAX = 1_000


class Publisher:
    def __init__(self, local: Local, replica: Replica) -> None:
        self._local = local
        self._replica = replica
        self._account_events: dict[str, list[Event]] = {}
        self._trades: dict[str, list[MarketTrade]] = {}
        self._asked_for: dict[bytes, None] = {}  # topics of accounts whose orders were asked for

    def reset(self, replica: Replica) -> None:
        """The state came about other than by commits published here: nothing in it is news, and
        everybody has to ask for it anew."""
        self._replica = replica
        for symbol in replica.trades:
            replica.exchange.changes(symbol)
        self._account_events.clear()
        self._trades.clear()
        self._local.lose("market")
        self._local.lose("account")

    def add(self, applied: Applied) -> None:
        """Collect the events of accounts somebody listens to."""
        for symbol, trades in applied.trades.items():
            self._trades.setdefault(symbol, []).extend(trades)
        listening = self._local.subscribed | self._asked_for.keys()
        for events in (applied.timed, *applied.results):
            for event in events:
                for account in _accounts(event):
                    if protocol.topic("account", account) in listening:
                        self._account_events.setdefault(account, []).append(event)

    def flush(self, round_: int) -> None:
        """Publish what changed since the last time."""
        replica = self._replica
        for symbol in replica.trades:
            self._publish_market(symbol)
        for account, events in self._account_events.items():
            self._publish_account(account, events)
        self._account_events.clear()
        seq = self._local.next_seq("commit")
        done = protocol.Committed(
            seq, replica.commit, round_, replica.time_ms, replica.latest().digest
        )
        self._local.publish(done, "commit")

    def _publish_market(self, symbol: str) -> None:
        replica = self._replica
        changes = replica.exchange.changes(symbol)
        trades = self._trades.pop(symbol, [])
        if not changes and not trades:
            return
        sides: tuple[list[protocol.Level], list[protocol.Level]] = ([], [])
        for side, price, quantity, orders in changes:
            sides[side].append((price, quantity, orders))
        seq = self._local.next_seq("market", symbol)
        update = protocol.MarketUpdate(
            symbol,
            seq,
            replica.commit,
            replica.time_ms,
            *sides,
            trades,
            *self._shares(symbol, *sides),
        )
        self._local.publish(update, "market", symbol)

    def _shares(
        self, symbol: str, bids: list[protocol.Level], asks: list[protocol.Level]
    ) -> Iterator[list[list[protocol.Share]]]:
        """Of each level, what each peer has taken of it; bids first, then asks."""
        for side, levels in ((Side.BUY, bids), (Side.SELL, asks)):
            queues = (self._replica.exchange.queue(symbol, side, level[0]) for level in levels)
            yield [shares_of(queue) for queue in queues]

    def state(self, symbol: str, depth: int) -> protocol.State | protocol.Refused:
        """A market's book, at most DEPTH_MAX levels a side."""
        replica = self._replica
        if symbol not in replica.trades:
            return protocol.Refused("unknown", f"no market {symbol!r:.40} here")
        levels = min(max(depth, 1), DEPTH_MAX)
        bids = replica.exchange.depth(symbol, Side.BUY, levels)
        asks = replica.exchange.depth(symbol, Side.SELL, levels)
        bid_shares, ask_shares = self._shares(symbol, bids, asks)
        return protocol.State(
            market=symbol,
            seq=self._local.seq("market", symbol),
            commit=replica.commit,
            time_ms=replica.time_ms,
            digest=replica.latest().digest,
            bids=bids,
            asks=asks,
            trades=list(reversed(replica.trades[symbol])),
            bid_shares=bid_shares,
            ask_shares=ask_shares,
        )

    def greet(self) -> None:
        """Tell new listeners to an account where its feed stands. A subscription takes another way
        than the question for the state, so an update can have fallen between the two: now the
        listener sees the gap."""
        for key in self._local.new_listeners:
            kind, _, account = key.rstrip(b"\0").decode(errors="replace").partition("/")
            if kind == "account" and key == protocol.topic(kind, account):
                self._publish_account(account, [])
        self._local.new_listeners.clear()

    def _publish_account(self, account: str, events: list[Event]) -> None:
        seq = self._local.next_seq("account", account)
        replica = self._replica
        update = protocol.AccountUpdate(account, seq, replica.commit, replica.time_ms, events)
        self._local.publish(update, "account", account)

    def orders(self, account: str, pending: list[tuple[int, Command]]) -> protocol.Orders:
        """An account's open orders. From now on its updates are counted, listened to or not."""
        self._asked_for[protocol.topic("account", account)] = None
        if len(self._asked_for) > ASKED_FOR_MAX:
            del self._asked_for[next(iter(self._asked_for))]
        seq = self._local.seq("account", account)
        return protocol.Orders(account, seq, self._replica.exchange.open_orders(account), pending)

    def accounts(self, limit: int) -> protocol.Accounts:
        """Those with most open orders."""
        sizes: Counter[str] = Counter()
        for account, count in self._replica.exchange.accounts():
            sizes[account] += count
        return protocol.Accounts(sizes.most_common(min(max(limit, 1), protocol.ACCOUNTS_MAX)))


def shares_of(queue: Iterable[tuple[int, int]]) -> list[protocol.Share]:
    """What each member has taken of the orders of a level (id, quantity), by its place."""
    shares: dict[int, protocol.Share] = {}
    for number, quantity in queue:
        member = number % MEMBERS_SPACE
        _, others, orders = shares.get(member, (member, 0, 0))
        shares[member] = (member, others + quantity, orders + 1)
    return sorted(shares.values())


def _accounts(event: Event) -> Iterable[str]:
    if type(event) is Trade:
        return {event.maker_account: 0, event.taker_account: 0}
    return (event.account,) if hasattr(event, "account") else ()
