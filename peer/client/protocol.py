"""What a local program and its node say to each other, over one local ZeroMQ connection.

Owns the messages; holds no behaviour. The program has a DEALER, the node a ROUTER. Both send two
frames, `[request id, body]`; the body is msgpack of one of the structs below. The program chooses
the request id, up to 16 bytes, and every answer to the request bears it.

    Execute  -> Queued once the commands are on disk, then Done one or more times until every one
                of them has been ordered; or Refused, and then none was taken
    GetState -> State
    GetOrders -> Orders
    GetMarkets -> Markets
    GetAccounts -> Accounts
    Withdraw -> Withdrawn
    Subscribe -> of each topic its state, then its updates, until Unsubscribe; or Refused
    Unsubscribe, under the request id of a Subscribe -> Unsubscribed, the last message under that id

A request's first field is `type`, and it has no others than those here: what a reader has to skip
may be values inside values without end.

A topic is text. These are its state, which comes first, and its updates:

    market/<symbol>    State; MarketUpdate
    account/<account>  Orders; PendingUpdate and AccountUpdate
    commit             Committed, after all other updates of the same turn
    mesh               Mesh, twice a second and whenever the quorum comes or goes

Order. What comes over a connection comes in the order in which it happened at the node. Questions
are answered first in a turn of the node's loop: a State or Orders has all that was read before it,
and nothing of what is read after it. Then come PendingUpdates; Queued and Withdrawn; MarketUpdates,
AccountUpdates and Committed; Refused and Done, these by commit, and of one commit in the order of
its commands. So a program that reads Queued, Withdrawn or Done has read before it what that
changed.

Loss. A subscription loses no update while its connection lives, but if the program reads too
slowly: when QUEUE_MESSAGES_MAX messages wait for it, the node sends it no more updates. Once the
program has read half of them, it gets Lost under the request id of each such subscription and then
the states of all its topics, as at first. Topics whose states must fit together belong in one
Subscribe. Answers are never left out. They wait for the program behind those states, so that a
result is not ahead of its updates then either; a State or Orders is as old as the question. While
UNREAD_BUSY answers wait, the node takes nothing from the program and refuses all as `busy`. While
UNREAD_MAX wait, it takes nothing and says nothing: a program that asks must read. With its
connection a program's subscriptions end: on a new one it subscribes again.

`seq` counts the updates of a topic since the first of its present subscribers came; State and
Orders bear that of the last update they cover. An empty message is none: with it the node finds out
whether a program is still there.
"""

import msgspec

from engine import Command, Event, Market, OpenOrder
from peer.replica.signed import Entry
from peer.replica.trade import MarketTrade

Level = tuple[int, int, int]  # price in ticks, shown quantity in lots (0: level gone), orders
# What one peer has taken of a level: its place in the mesh file from 0, shown quantity, orders.
Share = tuple[int, int, int]


class Execute(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="execute"):
    """Commands with id 0: the node gives the ids. At most COMMANDS_PER_REQUEST_MAX.

    An order whose `client_id` this node has taken from the same account before, under restarts and
    within its last million commands, is not taken again: Queued has the id it got then, and Done
    its result if that is still known, otherwise `result_lost` follows. So whoever got no answer can
    send it again, to the same node. If it is known to have said something else then, it is refused
    with `other_order`. Withdrawing frees the name.

    The `order` of a cancel, reduce or replace may be an earlier command of the same request, whose
    id nobody knows yet: -1 is the request's first command, -2 its second, and so on. A signed
    command names orders by their ids.

    With a `source`, such as the address that somebody else sent them from, commands count for it
    while they wait to be ordered, and for their accounts, and those of key accounts together:
    beyond the share of one of these the answer is `too_many_pending`. A program's own have none.
    """

    commands: list[Entry]
    source: str = ""


class GetState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="get_state"):
    market: str
    depth: int = 1000  # levels a side


class GetOrders(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="get_orders"):
    account: str


class GetMarkets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="get_markets"):
    pass


class GetAccounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="get_accounts"):
    """Who has most open orders, whichever peer took them."""

    limit: int = 100


class Withdraw(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="withdraw"):
    """Take back commands that are in no published block yet."""

    account: str
    ids: list[int]


class Subscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="subscribe"):
    """At most TOPICS_PER_REQUEST_MAX, all of them or none. Under the request id of an earlier
    Subscribe it takes that one's place."""

    topics: list[str]


class Unsubscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unsubscribe"):
    pass


Request = (
    Execute | GetState | GetOrders | GetMarkets | GetAccounts | Withdraw | Subscribe | Unsubscribe
)


class Queued(msgspec.Struct, frozen=True, tag="queued"):
    """The commands are durable here and will be ordered; `ids` in the order they came. Those of
    `again` were taken before, by their client ids: they may have been ordered long ago."""

    ids: list[int]
    again: list[int] = []


class Result(msgspec.Struct, frozen=True, array_like=True):
    id: int  # of the command
    events: list[Event]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Final: these commands have been ordered and applied."""

    commit: int
    time_ms: int
    results: list[Result]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Nothing was taken. `code` is one of `busy`, `too_many_pending`, `invalid`, `not_member`,
    `halted`, `stopping`, `unknown`, `other_order`; the name of a Reason, if no peer would apply a
    command for want of a good signature or of room; or `result_lost`: after Queued it was ordered,
    but the result is not known here any more; or others, as many as may, wait for it already; or
    the peer stops first, and it will be ordered after its next start; before Queued the disk
    failed, and whether it was taken shows when the peer is started again."""

    code: str
    reason: str


class State(msgspec.Struct, frozen=True, tag="state"):
    """One market's book between two commits, best levels first."""

    market: str
    seq: int  # of the last MarketUpdate it covers
    commit: int
    time_ms: int
    digest: bytes
    bids: list[Level]
    asks: list[Level]
    trades: list[MarketTrade]  # newest first, at most TRADES_KEPT
    bid_shares: list[list[Share]] = []  # of each of `bids`, by peer; empty: not told
    ask_shares: list[list[Share]] = []


class Orders(msgspec.Struct, frozen=True, tag="orders"):
    account: str
    seq: int  # of the last AccountUpdate it covers
    open: list[OpenOrder]
    pending: list[tuple[int, Command]]  # accepted here, not ordered yet: id, command


class Markets(msgspec.Struct, frozen=True, tag="markets"):
    peer: str
    mesh: str
    markets: list[Market]


class Accounts(msgspec.Struct, frozen=True, tag="accounts"):
    accounts: list[tuple[str, int]]  # with the numbers of their open orders, the most first


class Withdrawn(msgspec.Struct, frozen=True, tag="withdrawn"):
    """Those taken back; the others of the request are in a block already, or unknown."""

    ids: list[int]


class Unsubscribed(msgspec.Struct, frozen=True, tag="unsubscribed"):
    pass


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """Updates of this subscription were lost. The states of all its topics follow."""


Reply = Queued | Done | Refused | State | Orders | Markets | Accounts | Withdrawn | Unsubscribed


class MarketUpdate(msgspec.Struct, frozen=True, tag="market"):
    """Levels that changed, with their new quantities, and trades, oldest first."""

    market: str
    seq: int
    commit: int
    time_ms: int
    bids: list[Level]
    asks: list[Level]
    trades: list[MarketTrade]
    bid_shares: list[list[Share]] = []  # of each of `bids`, by peer; empty: not told
    ask_shares: list[list[Share]] = []


class PendingUpdate(msgspec.Struct, frozen=True, tag="pending"):
    """Commands of an account that this node has taken and that wait to be ordered, with their ids,
    and the ids of those that were taken back."""

    account: str
    seq: int
    time_ms: int  # by this peer's clock
    pending: list[tuple[int, Command]]
    withdrawn: list[int]


class AccountUpdate(msgspec.Struct, frozen=True, tag="account"):
    account: str
    seq: int
    commit: int
    time_ms: int
    events: list[Event]


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """All updates up to `commit` have been sent; `digest` is the engine's after it."""

    seq: int
    commit: int
    round: int
    time_ms: int
    digest: bytes


class MemberView(msgspec.Struct, frozen=True):
    """One member of the mesh as this peer sees it."""

    name: str
    key: str  # hex Ed25519 public key
    address: str  # host:port it was found at; empty when never found
    alive: bool
    round: int  # of its newest block here
    commit: int  # it said it has applied
    age_ms: int  # since it was last heard; -1: never
    agrees: bool | None  # its audit digest equals ours for the same commit; None: not comparable
    unread: int = 0  # messages of it that were more than a member can need, or made no sense
    barred: str = ""  # why it is not heard: "cut off", "floods", "another mesh"; empty: it may be
    hears: list[str] = []  # the other members it says it hears; empty while it is not alive
    renewed: int = 0  # times the connection to ask it was made anew, since nothing was answered


class Reason(msgspec.Struct, frozen=True):
    """Why a peer is not ready: an order given to it now would not be ordered, or not soon."""

    code: str  # halted, stopping, not_member, no_quorum, unheard, catching_up, pending
    text: str


class Mesh(msgspec.Struct, frozen=True, tag="mesh"):
    seq: int
    peer: str  # this peer's name
    mesh: str  # hex mesh id
    mode: str  # crash or byzantine
    members: list[MemberView]  # in the mesh file's order, this peer included
    quorum_size: int
    quorum: bool  # enough members hear this one and are heard, this one included
    round: int
    commit: int
    digest: bytes
    pending: int  # commands accepted here and not ordered yet
    finality_ms: float  # median of this peer's recent commands, submit to applied; 0: none yet
    halted: str  # why this peer stopped; empty while it runs
    alarms: list[str]
    catching_up: str = ""  # what is being fetched and how far; empty when nothing is
    refused: int = 0  # connections without a key of this mesh, or that brought too much
    unanswered: int = 0  # requests of others that found no room to wait
    oldest_pending_ms: int = 0  # how long the command that waits longest has done so; 0: none waits
    unready: list[Reason] = []  # the worst first; empty: it is ready


Update = MarketUpdate | PendingUpdate | AccountUpdate | Committed | Mesh
Streamed = State | Orders | Update | Lost  # what comes of a subscription
Answer = Reply | Update | Lost

COMMANDS_PER_REQUEST_MAX = 1_000
TOPICS_PER_REQUEST_MAX = 100
DEPTH_MAX = 1_000  # levels a side in a State
ACCOUNTS_MAX = 1_000  # of one answer
ID_DIGITS_MAX = 16  # of either half of an id's text


def topic(kind: str, name: str = "") -> str:
    """`topic("market", "BTC-USD")` is `"market/BTC-USD"`."""
    return f"{kind}/{name}" if name else kind


def format_id(number: int) -> str:
    """An id as people see it: the member that took the command and its count there, "2-17"."""
    return f"{number % 256 + 1}-{number // 256}"


def parse_id(text: str) -> int:
    """The id `format_id` made `text` of; ValueError says what was expected."""
    member, _, count = text.partition("-")
    if not (member.isascii() and member.isdigit() and count.isascii() and count.isdigit()):
        raise ValueError(f"an id looks like 2-17 (member, count), not {text!r:.40}")
    short = len(member) <= ID_DIGITS_MAX and len(count) <= ID_DIGITS_MAX
    if not (short and 1 <= int(member) <= 256 and 1 <= int(count) < 2**45):
        raise ValueError(f"an id is 1-256 and a count below 2**45, not {text!r:.40}")
    return int(count) * 256 + int(member) - 1
