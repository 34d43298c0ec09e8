"""Publishes changes of markets and orders to the programs on this machine.

Owns the updates of markets, accounts and commits, and the states they start from. Reads the
replica, never changes it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from engine import Command, Event, Side, Trade
from peer.client import protocol
from peer.client.endpoint import Local
from peer.client.proposal_views import ProposalView
from peer.client.protocol import DEPTH_MAX, topic
from peer.client.queue_places import ORDERS_MAX, Place, Queue
from peer.node.governance_views import NameOf, market_list, proposals
from peer.replica.applied import Applied
from peer.replica.state_machine import Replica
from peer.replica.trade import MarketTrade

QUEUE_WALKED_MAX = 10_000  # orders, for one question about places in queues


class Publisher:
    def __init__(self, local: Local, replica: Replica, name_of: NameOf = str) -> None:
        self._local = local
        self._replica = replica
        self._name_of = name_of
        self._markets_changed = False
        self._version = 0  # of the proposals as last published
        self._open: list[ProposalView] = []
        self._account_events: dict[str, tuple[list[Event], list[protocol.Stamp]]] = {}
        self._trades: dict[str, list[MarketTrade]] = {}

    def reset(self, replica: Replica) -> None:
        """The state has changed without commits published here. Nothing in it is news, and every
        subscription starts again."""
        self._replica = replica
        for symbol in replica.trades:
            replica.exchange.skip_changes(symbol)
        self._version = replica.governance.version
        self._account_events.clear()
        self._trades.clear()
        self._local.start_again()

    def add(self, applied: Applied) -> None:
        """Collect the trades of markets and the events of accounts that a program follows."""
        for symbol, trades in applied.trades.items():
            if self._local.hears(topic("market", symbol)):
                self._trades.setdefault(symbol, []).extend(trades)
        self._markets_changed |= bool(applied.done)
        heard = self._local.heard("account")
        for events, trades in applied.traded() if heard else ():
            stamps = iter([(trade.number, trade.time_ms) for trade in trades])
            for event in events:
                self._collect(event, next(stamps) if type(event) is Trade else None, heard)

    def _collect(self, event: Event, stamp: protocol.Stamp | None, heard: set[str]) -> None:
        for account in _accounts(event):
            if account in heard:
                events, stamps = self._account_events.setdefault(account, ([], []))
                events.append(event)
                if stamp is not None:
                    stamps.append(stamp)

    def flush(self, round_: int) -> None:
        """Publish the changes since the last time."""
        for symbol in self._replica.trades:
            self._publish_market(symbol)
        for account, (events, stamps) in self._account_events.items():
            self._publish_account(account, events, stamps)
        self._account_events.clear()
        self._publish_governance()
        if self._local.hears("commit"):  # a digest costs time for each change
            self._local.publish(self.committed(round_, self._next_seq("commit")), "commit")

    def _publish_governance(self) -> None:
        if self._markets_changed and self._local.hears("markets"):
            self._local.publish(self.markets(self._next_seq("markets")), "markets")
        self._markets_changed = False
        governance = self._replica.governance
        # What an accepted proposal waits for changes without a vote.
        if self._local.hears("proposals") and (
            governance.version != self._version or governance.accepted
        ):
            found = self.proposals(self._next_seq("proposals"))
            if (governance.version, found.open) != (self._version, self._open):
                self._version, self._open = governance.version, found.open
                self._local.publish(found, "proposals")

    def markets(self, seq: int | None = None) -> protocol.MarketList:
        seq = self._local.seq("markets") if seq is None else seq
        return market_list(self._replica, seq)

    def proposals(self, seq: int | None = None) -> protocol.Proposals:
        seq = self._local.seq("proposals") if seq is None else seq
        return proposals(self._replica, self._name_of, seq)

    def _publish_market(self, symbol: str) -> None:
        replica, trades = self._replica, self._trades.pop(symbol, [])
        if not self._local.hears(topic("market", symbol)):
            replica.exchange.skip_changes(symbol)
            return
        changes = replica.exchange.changes(symbol)
        if not (changes or trades):
            return
        sides: tuple[list[protocol.Level], list[protocol.Level]] = ([], [])
        for side, price, quantity, orders in changes:
            sides[side].append((price, quantity, orders))
        update = protocol.MarketUpdate(
            symbol,
            self._next_seq(topic("market", symbol)),
            replica.commit,
            replica.time_ms,
            *sides,
            trades,
            *self._shares(symbol, *sides),
        )
        self._local.publish(update, topic("market", symbol))

    def _shares(
        self, symbol: str, bids: list[protocol.Level], asks: list[protocol.Level]
    ) -> Iterator[list[list[protocol.Share]]]:
        """Each peer's share of each level; bids first, then asks."""
        for side, levels in ((Side.BUY, bids), (Side.SELL, asks)):
            yield [self._replica.exchange.shares(symbol, side, level[0]) for level in levels]

    def state(self, symbol: str, depth: int) -> protocol.State | protocol.Refused:
        """A market's book, at most DEPTH_MAX levels a side."""
        replica = self._replica
        if symbol not in replica.trades:
            return protocol.Refused("unknown", f"there is no market {symbol!r:.40}")
        levels = min(max(depth, 1), DEPTH_MAX)
        bids = replica.exchange.depth(symbol, Side.BUY, levels)
        asks = replica.exchange.depth(symbol, Side.SELL, levels)
        bid_shares, ask_shares = self._shares(symbol, bids, asks)
        if not self._local.hears(topic("market", symbol)):
            replica.exchange.skip_changes(symbol)  # updates continue from here
        return protocol.State(
            market=symbol,
            seq=self._local.seq(topic("market", symbol)),
            commit=replica.commit,
            time_ms=replica.time_ms,
            digest=replica.latest().digest,
            bids=bids,
            asks=asks,
            trades=list(reversed(replica.trades[symbol])),
            bid_shares=bid_shares,
            ask_shares=ask_shares,
        )

    def _publish_account(
        self, account: str, events: list[Event], stamps: list[protocol.Stamp]
    ) -> None:
        name, replica = topic("account", account), self._replica
        update = protocol.AccountUpdate(
            account, self._next_seq(name), replica.commit, replica.time_ms, events, stamps
        )
        self._local.publish(update, name)

    def pending(
        self, taken: Sequence[Command], taken_back: Mapping[str, list[int]], wall_ms: int
    ) -> None:
        """Report, by account, commands that are on disk here and wait to be ordered, and commands
        that no longer wait."""
        if not (taken or taken_back):
            return
        heard = self._local.heard("account")
        by_account: dict[str, list[tuple[int, Command]]] = {
            account: [] for account in taken_back if account in heard
        }
        for command in taken if heard else ():
            if command.account in heard:
                by_account.setdefault(command.account, []).append((command.id, command))
        for account, theirs in by_account.items():
            name, gone = topic("account", account), taken_back.get(account, [])
            update = protocol.PendingUpdate(account, self._next_seq(name), wall_ms, theirs, gone)
            self._local.publish(update, name)

    def _next_seq(self, name: str) -> int:
        return self._local.seq(name) + 1

    def orders(self, account: str, pending: list[tuple[int, Command]]) -> protocol.Orders:
        """An account's open orders."""
        seq = self._local.seq(topic("account", account))
        return protocol.Orders(account, seq, self._replica.exchange.open_orders(account), pending)

    def committed(self, round_: int, seq: int | None = None) -> protocol.Committed:
        replica = self._replica
        seq = self._local.seq("commit") if seq is None else seq
        digest = replica.latest().digest
        return protocol.Committed(seq, replica.commit, round_, replica.time_ms, digest)

    def accounts(self, limit: int) -> protocol.Accounts:
        """The accounts with most open orders."""
        sizes: Counter[str] = Counter()
        for account, count in self._replica.exchange.accounts():
            sizes[account] += count
        return protocol.Accounts(sizes.most_common(min(max(limit, 1), protocol.ACCOUNTS_MAX)))

    def queue(self, account: str, ids: Sequence[int]) -> Queue:
        """What stands before these orders of an account."""
        exchange, left = self._replica.exchange, QUEUE_WALKED_MAX
        places = []
        for number in ids[:ORDERS_MAX]:
            order = exchange.order(number)
            if order is None or order.account != account:
                continue
            found = exchange.ahead(number, left)
            if found is not None:
                left -= found[1]
                places.append(Place(number, order.market, *found))
        return Queue(self._replica.commit, places)


def _accounts(event: Event) -> Iterable[str]:
    if type(event) is Trade:
        return {event.maker_account: 0, event.taker_account: 0}
    return (event.account,) if hasattr(event, "account") else ()
