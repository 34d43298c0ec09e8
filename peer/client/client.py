"""The Python client: one object to trade with, in decimals.

Owns the convenient names, but no state: the node has the book and the orders. Must be used from one
thread; must never round an amount.
"""

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TypedDict, Unpack

from engine import Cancel, CancelAll, Command, Market, Reason, Side, Submit
from peer.client import order_input, protocol
from peer.client.accounts import AccountMirror
from peer.client.connection import ClientError, Closing, Feed, NoAnswerError, NodeClient
from peer.client.endpoint import Endpoint, endpoint
from peer.client.follow import KINDS, Follower, Item
from peer.client.order_input import Change, InvalidInputError, NewOrder
from peer.client.protocol import AccountUpdate, Orders, PendingUpdate, Streamed
from peer.client.records import Book, Order, Trade, book_of, order_of, trade_of
from peer.client.rejections import WORDS
from peer.client.signer import Signer
from peer.client.units import Units, units_of
from peer.replica.order_state import OrderView, Outcome, Status, outcome_of, resting, submitted

Amount = int | str | Decimal
TIMEOUT_S = 10.0
DEPTH = 10


class Terms(TypedDict, total=False):
    """The options of an order besides market, side, quantity and price."""

    stop_price: Amount
    tif: str  # gtc (default); ioc: the part not traded at once expires; fok: all at once, or none
    expire: int | str  # good till this time: milliseconds, or text such as 2030-01-01T00:00:00Z
    post_only: bool  # rejected if it would trade at once
    display: Amount  # displayed quantity of an iceberg order
    self_trade: str  # none, cancel_resting, cancel_incoming, cancel_both or decrement
    client_id: str  # an order sent again under this name is taken only once
    account: str  # instead of the client's


class ChangeRejectedError(ClientError):
    """The market rejected a cancel or a change; `reason` is the code."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(WORDS[reason])
        self.reason = reason.name.lower()


class Client(Closing):
    """Trades for `account` at the node with the data folder `data`, which may start later.
    `timeout_s` limits every call.

    Every method may raise: InvalidInputError (a ValueError) for invalid arguments, before anything
    is sent; NodeRefusedError if the node took nothing; NoAnswerError if no answer came in time, and
    then the request may still take effect. All but the first are ClientErrors. A `signer` signs the
    commands of its account, which is also the default account.
    """

    def __init__(
        self,
        data: str | Path | Endpoint,
        account: str = "",
        timeout_s: float = TIMEOUT_S,
        signer: Signer | None = None,
    ) -> None:
        where = data if isinstance(data, Endpoint) else endpoint(Path(data))
        self.node = NodeClient(where, timeout_s)  # for programs that use ticks and lots, or batches
        self.account = account or (signer.account if signer else "")
        self._signer = signer
        self._timeout_s = timeout_s
        self._known: dict[str, Units] = {}

    def close(self) -> None:
        """Close the connection. This ends every stream."""
        self.node.close()

    # Orders

    def buy(
        self,
        market: str,
        quantity: Amount,
        price: Amount | None = None,
        **terms: Unpack[Terms],
    ) -> Order:
        """`submit` with the side buy."""
        return self.submit(market, "buy", quantity, price, **terms)

    def sell(
        self,
        market: str,
        quantity: Amount,
        price: Amount | None = None,
        **terms: Unpack[Terms],
    ) -> Order:
        """`submit` with the side sell."""
        return self.submit(market, "sell", quantity, price, **terms)

    def submit(
        self,
        market: str,
        side: str,
        quantity: Amount,
        price: Amount | None = None,
        **terms: Unpack[Terms],
    ) -> Order:
        """Place an order and return its result, which is final: the peers have ordered it.

        `side` is buy or sell. Without `price` it is a market order; with `stop_price` it waits
        until the market trades there. `Terms` lists the other `terms`.

        An order that the market refuses has the status `rejected`. Without a quorum, the status is
        `pending` after `timeout_s`: the order will be ordered once there is a quorum."""
        limit, stop = price is not None, terms.get("stop_price") is not None
        fields: dict[str, object] = {
            "side": side,
            "quantity": quantity,
            "price": price,
            "market": market,
            "type": _TYPES[limit, stop],
            "tif": "gtd" if terms.get("expire") is not None else None,
        }
        order = order_input.read(NewOrder, fields | terms)
        command = order_input.submit_of(order, self._units(market), self._account(order.account))
        number, outcome = self._run(command)
        view = outcome.order if outcome else submitted(command, number)
        assert view is not None
        return order_of(view, self._units(market))

    def cancel(self, order: str, account: str = "") -> Order:
        """Cancel an order. ChangeRejectedError if it is no longer open."""
        name, wanted = self._account(account), _id(order)
        with _Watched(self.node, name, self._timeout_s) as orders:
            known = orders.find(wanted)
            is_pending = known is not None and known.status is Status.PENDING
            if is_pending and wanted in self.node.withdraw(name, [wanted]):
                return self._order(wanted, orders)
            return self._change(Cancel(0, name, wanted), wanted, orders)

    def replace(
        self,
        order: str,
        price: Amount | None = None,
        quantity: Amount | None = None,
        account: str = "",
    ) -> Order:
        """Give an order a new price, a new open quantity, or both. Only a smaller quantity keeps
        its place in the queue; every other change may trade at once. ChangeRejectedError if the
        market rejects the change."""
        name, wanted = self._account(account), _id(order)
        change = order_input.read(Change, {"price": price, "quantity": quantity})
        with _Watched(self.node, name, self._timeout_s) as orders:
            known = orders.find(wanted)
            if known is None:
                raise ChangeRejectedError(Reason.UNKNOWN_ORDER)
            command = order_input.change_of(change, known, self._units(known.market))
            return self._change(command, wanted, orders)

    def cancel_all(self, market: str = "", side: str = "", account: str = "") -> list[str]:
        """Cancel all orders of the account, or those of one market or side; returns their ids."""
        if side not in ("", "buy", "sell"):
            raise InvalidInputError("side", "must be buy or sell")
        if market:
            self._units(market)
        chosen = Side[side.upper()] if side else None
        _, outcome = self._run(CancelAll(0, self._account(account), market, chosen))
        return [protocol.format_id(number) for number in _ordered(outcome).cancelled]

    def orders(self, account: str = "") -> list[Order]:
        """The account's open orders, and its pending ones at this node."""
        found = self.node.orders(self._account(account))
        views = [resting(order) for order in found.open]
        views += [submitted(c, number) for number, c in found.pending if isinstance(c, Submit)]
        return [order_of(view, self._units(view.market)) for view in views]

    # The market

    def markets(self) -> list[Market]:
        """The markets; `tick` and `lot` are the steps of price and quantity."""
        found = self.node.markets().markets
        self._known = {market.symbol: units_of(market) for market in found}
        return found

    def book(self, market: str, depth: int = DEPTH) -> Book:
        """The best levels of both sides, up to 1000."""
        units = self._units(market)
        state = self.node.state(market, depth)
        return book_of(state, state.bids, state.asks, units)

    def trades(self, market: str, limit: int = 100) -> list[Trade]:
        """The last trades, newest first; a node keeps 200."""
        units = self._units(market)
        return [trade_of(trade, units) for trade in self.node.state(market, 1).trades[:limit]]

    def stream(
        self,
        *kinds: str,
        market: str = "",
        account: str = "",
        depth: int = DEPTH,
        timeout_s: float | None = None,
    ) -> Iterator[Item]:
        """What happens from now on, in order, until nothing has for `timeout_s`.

        `kinds`: "book" gives a `Book` whenever it has changed, the present one first; "trades" each
        `Trade`; "orders" the account's open `Order`s and then each that changes; "commit" and
        "mesh" the node's own messages (`protocol.Committed`, `Mesh`). Without `market`, of all
        markets; of a market that is added later only the orders. What happens after this call
        returned is in the stream."""
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise InvalidInputError("kinds", f"must be some of {', '.join(KINDS)}, not {unknown}")
        if not market:
            self.markets()
        units = {market: self._units(market)} if market else dict(self._known)
        name = self._account(account) if "orders" in kinds else ""
        follower = Follower(kinds, units, name, depth, has_all=not market)
        feed = self.node.feed(*follower.topics)
        first = feed.batch(self._timeout_s)
        if not first:
            feed.close()
            raise NoAnswerError(f"the node sent nothing for {self._timeout_s} s")
        return self._follow(follower, feed, first, timeout_s)

    def _follow(
        self, follower: Follower, feed: Feed, batch: list[Streamed], timeout_s: float | None
    ) -> Iterator[Item]:
        last_s, was_short = time.monotonic(), False
        with feed:
            while batch:
                for item in follower.take(batch):
                    yield item
                    last_s = time.monotonic()
                if timeout_s is not None and time.monotonic() - last_s > timeout_s:
                    return
                if follower.is_short and not was_short:
                    feed.begin_again()
                was_short = follower.is_short
                batch = feed.batch(self._timeout_s)
        raise NoAnswerError(f"the node sent nothing for {self._timeout_s} s")

    # Private

    def _account(self, named: str) -> str:
        name = named or self.account
        if not name:
            raise InvalidInputError("account", "is needed, here or when the client is made")
        return name

    def _all_units(self) -> dict[str, Units]:
        if not self._known:
            self.markets()
        return self._known

    def _units(self, market: str) -> Units:
        known = self._all_units()
        if market not in known:  # it may be new
            self.markets()
            known = self._known
        if market not in known:
            raise InvalidInputError(
                "market", f"must be one of {', '.join(known)}, not {market!r:.40}"
            )
        return known[market]

    def _run(self, command: Command) -> tuple[int, Outcome | None]:
        """Send a command; returns its id, and its outcome if it is ordered in time."""
        deadline_s = time.monotonic() + self._timeout_s
        signer = self._signer
        if signer is not None and command.account == signer.account:
            request = self.node.send(protocol.Execute([signer.sign(command)]))
        else:
            request = self.node.send(protocol.Execute([command]))
        (number,) = self.node.answer(request, protocol.Queued, deadline_s).ids
        try:
            done = self.node.answer(request, protocol.Done, deadline_s)
        except NoAnswerError:
            return number, None
        (result,) = done.results
        counts = result.first or number
        return counts, outcome_of(command, counts, result.events, done.time_ms, result.trades)

    def _change(self, command: Command, wanted: int, orders: "_Watched") -> Order:
        outcome = _ordered(self._run(command)[1])
        if outcome.reason is not None:
            raise ChangeRejectedError(outcome.reason)
        return self._order(wanted, orders)

    def _order(self, wanted: int, orders: "_Watched") -> Order:
        view = orders.find(wanted)
        assert view is not None, "the node sends updates before the answer"
        return order_of(view, self._units(view.market))


class _Watched(Closing):
    """An account's orders, while one of them is changed."""

    def __init__(self, node: NodeClient, account: str, timeout_s: float) -> None:
        self._feed = node.feed(protocol.topic("account", account))
        self._mirror = AccountMirror(account)
        self._timeout_s = timeout_s

    def close(self) -> None:
        self._feed.close()

    def find(self, number: int) -> OrderView | None:
        """An order as it is now, with all changes up to the node's last answer. NoAnswerError."""
        while messages := self._feed.batch(0 if self._mirror.ready else self._timeout_s):
            for message in messages:
                assert isinstance(message, Orders | PendingUpdate | AccountUpdate)
                self._mirror.take(message)
        if not self._mirror.ready:
            raise NoAnswerError(f"the node sent nothing for {self._timeout_s} s")
        return self._mirror.open.get(number) or self._mirror.finished.get(number)


_TYPES = {  # by: has a price, has a stop price
    (True, False): "limit",
    (False, False): "market",
    (True, True): "stop_limit",
    (False, True): "stop",
}


def _ordered(outcome: Outcome | None) -> Outcome:
    if outcome is None:
        raise NoAnswerError(
            "the node has taken the command but not ordered it yet: there may be no quorum"
        )
    return outcome


def _id(text: str) -> int:
    try:
        return protocol.parse_id(text)
    except ValueError as error:
        raise InvalidInputError("order", f"is no id: {error}") from None
