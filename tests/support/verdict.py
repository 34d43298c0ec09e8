"""What must hold after chaos: the clients' records agree with every peer's book.

Owns the comparison, a pure function of records and books. Must never talk to a peer.

All orders are limit orders that rest until they are filled or cancelled. So an order that was
applied exactly once has filled + open + cancelled == its quantity, on every peer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from engine import Cancel, Cancelled, OpenOrder, Rejected, Side, Submit, Trade
from tests.support.traders import Record, Sent


class Row(NamedTuple):
    """A trade in a journal."""

    number: int
    price: int
    quantity: int
    side: int
    maker: int
    taker: int


class Book(NamedTuple):
    """The final state of one peer."""

    name: str
    open: list[OpenOrder]  # of all accounts
    trades: list[Row]  # those in its journal; a peer that fetched a snapshot lacks some


class Story(NamedTuple):
    """The state that all peers have in common."""

    open: dict[int, OpenOrder]
    taken: dict[int, list[Row]]  # trades by taker
    filled: dict[int, int]  # quantity by order


def faults(records: Sequence[Record], books: Sequence[Book]) -> list[str]:
    """All contradictions; empty if there are none."""
    found = [fault for record in records for fault in record.faults]
    found += _differences(books)
    if found:
        return found
    story = _story(books)
    for record in records:
        cancels = {one.command.order: one for one in record.cancels}  # type: ignore[union-attr]
        for sent in record.orders:
            found += (f"{record.account}: {what}" for what in _order(sent, cancels, story))
    return found + list(_strangers(records, story))


def out_of_order(records: Sequence[Record], commits: Mapping[int, int]) -> Iterator[str]:
    """Commands that were sent after another command had been answered, by any peer to any client,
    and are not in a later commit. `commits` has the commits of orders by id.

    The commit must be strictly later: all blocks in commits up to that of an answered command were
    made before the answer, and a command is in no block before it is sent.
    """
    commands = [one for record in records for one in record.sent.values()]
    answered = sorted(((one.answered_s, one) for one in commands if one.commit), key=itemgetter(0))
    ordered = ((one, one.commit or commits.get(one.queued, 0)) for one in commands)
    sent = sorted(
        ((one.sent_s, one, commit) for one, commit in ordered if commit), key=itemgetter(0)
    )
    newest, next_ = Sent(Cancel(0, "", 0)), 0
    for sent_s, one, commit in sent:
        while next_ < len(answered) and answered[next_][0] < sent_s:
            newest = max(newest, answered[next_][1], key=lambda other: other.commit)
            next_ += 1
        if commit <= newest.commit:
            yield f"commit {commit} has {one}, sent after {newest} was answered"


def _differences(books: Sequence[Book]) -> Iterator[str]:
    numbers: dict[int, Row] = {}
    for book in books:
        if book.open != books[0].open:
            yield f"{book.name} has other open orders than {books[0].name}"
        if len({row.number for row in book.trades}) < len(book.trades):
            yield f"{book.name} has two trades of one number"
        for row in book.trades:
            if numbers.setdefault(row.number, row) != row:
                yield f"{book.name} has {row} where another peer has {numbers[row.number]}"
    if set(numbers) != set(range(1, len(numbers) + 1)):
        yield "there are trades that no peer has"


def _story(books: Sequence[Book]) -> Story:
    trades = sorted({row for book in books for row in book.trades})
    filled: dict[int, int] = defaultdict(int)
    taken: dict[int, list[Row]] = defaultdict(list)
    for row in trades:
        taken[row.taker].append(row)
        filled[row.maker] += row.quantity
        filled[row.taker] += row.quantity
    return Story({order.id: order for order in books[0].open}, taken, filled)


def _order(sent: Sent, cancels: dict[int, Sent], story: Story) -> Iterator[str]:
    """What is wrong with one order, from the view of its sender."""
    order = sent.command
    assert isinstance(order, Submit)
    if sent.refused and sent.queued:
        yield f"{order.client_id} was both acknowledged and refused"
    if not sent.queued:
        if not sent.refused:
            yield f"{order.client_id} was never acknowledged"
        return
    there, filled = story.open.get(sent.queued), story.filled.get(sent.queued, 0)
    remaining = there.remaining if there else 0
    if there is not None and (there.client_id, there.side, there.price, there.quantity) != (
        order.client_id,
        order.side,
        order.price,
        order.quantity,
    ):
        yield f"{order} is open as {there}"
    if not _conserved(order.quantity, filled, remaining, cancels.get(sent.queued)):
        yield (
            f"{order} was acknowledged as {sent.queued}: filled {filled}, open {remaining}, "
            f"cancel {cancels.get(sent.queued)}"
        )
    yield from _told(sent, order, story)


def _conserved(quantity: int, filled: int, remaining: int, cancel: Sent | None) -> bool:
    whole = filled + remaining == quantity
    if cancel is None:
        return whole
    match cancel.events:
        case [Cancelled(remaining=gone)]:
            return remaining == 0 and filled + gone == quantity
        case [Rejected()]:  # it was filled already
            return remaining == 0 and filled == quantity
    if cancel.queued:
        return remaining == 0 and filled <= quantity
    return whole or (remaining == 0 and filled < quantity)


def _told(sent: Sent, order: Submit, story: Story) -> Iterator[str]:
    """Compare a final result with the trades in the journals."""
    if sent.events is None:
        return
    told = Counter(
        (e.price, e.quantity, e.maker, e.taker) for e in sent.events if isinstance(e, Trade)
    )
    had = Counter(
        (row.price, row.quantity, row.maker, row.taker) for row in story.taken.get(sent.queued, [])
    )
    if told != had:
        yield f"{order} was told the trades {told}, but made {had}"
    for price, *_ in told:
        if price > order.price if order.side is Side.BUY else price < order.price:
            yield f"{order} traded at {price}"


def _strangers(records: Sequence[Record], story: Story) -> Iterator[str]:
    """Check orders with no acknowledgement: a client must have sent each, without an answer."""
    orders = [one for record in records for one in record.orders]
    known = {one.queued for one in orders if one.queued}
    unknown = {
        one.command.client_id  # type: ignore[union-attr]
        for one in orders
        if not one.queued and not one.refused
    }
    strangers = (story.open.keys() | story.filled.keys()) - known
    if len(strangers) > len(unknown):
        yield f"{len(strangers)} unacknowledged orders, but only {len(unknown)} without an answer"
    for id_ in strangers & story.open.keys():
        if story.open[id_].client_id not in unknown:
            yield f"{story.open[id_]} is no client's"
    names = Counter(order.client_id for order in story.open.values())
    yield from (f"{name} is open {count} times" for name, count in names.items() if count > 1)
