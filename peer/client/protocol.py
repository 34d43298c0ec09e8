"""The protocol between a local program and its node, over one local ZeroMQ connection.

Owns the messages; has no behaviour. The program has a DEALER, the node a ROUTER. Both send two
frames, `[request id, body]`; the body is msgpack of one of the structs below. The program chooses
the request id, up to 16 bytes, and every answer to the request has it.

    Execute  -> Queued once the commands are on disk, then Done one or more times until all of them
                have been ordered; or Refused, and then none was taken
    GetState -> State
    GetOrders -> Orders
    GetMarkets -> Markets
    GetAccounts -> Accounts
    GetQueue -> Queue
    GetProposals -> Proposals
    Govern -> Queued, then Done, as for Execute; or Refused
    Withdraw -> Withdrawn
    Subscribe -> the state of each topic, then its updates, until Unsubscribe; or Refused
    Unsubscribe, under the request id of a Subscribe -> Unsubscribed, the last message under that id

A request's first field is `type`, and it has no fields other than those here: an unknown field
could nest without limit, and the reader would have to skip it.

A topic is text. Its state comes first, then its updates:

    market/<symbol>    State; MarketUpdate
    account/<account>  Orders; PendingUpdate and AccountUpdate
    commit             Committed, after all other updates of the same turn
    mesh               Mesh, twice a second and whenever the quorum comes or goes
    markets            MarketList, and again when a market is new or changed
    proposals          Proposals, and again when one is made, voted on or over

Order. Messages come over a connection in the order in which things happened at the node. A turn of
the node's loop answers queries first: a State or Orders includes all messages read before it, and
none read after it. Then come PendingUpdates; Queued and Withdrawn; MarketUpdates, AccountUpdates
and Committed; Refused and Done, ordered by commit, and within a commit by command. So a program
reads the changes before the Queued, Withdrawn or Done of the command that made them.

Loss. A subscription loses updates only if its connection ends or the program reads too slowly: when
QUEUE_MESSAGES_MAX messages wait for the program, the node sends it no more updates. Once the
program has read half of them, it gets Lost under the request id of each such subscription, and then
the states of all its topics, as at first. Topics whose states must fit together belong in one
Subscribe. Answers are never lost. They wait behind these states, so a result still comes after its
updates; a State or Orders is as old as its request. While UNREAD_BUSY answers wait, the node
refuses all requests of the program as `busy`. While UNREAD_MAX wait, it ignores them: a program
must read its answers. A program's subscriptions end with its connection: on a new one it subscribes
again.

`seq` counts the updates of a topic since the first of its present subscribers came; State and
Orders have the `seq` of the last update that they include. An empty message means nothing: the node
sends it to find out whether a program is still connected.
"""

import msgspec

from engine import Command, Event, Market, MarketStatus, OpenOrder
from peer.client.mesh_views import MemberView as MemberView
from peer.client.mesh_views import Mesh as Mesh
from peer.client.mesh_views import Reason as Reason
from peer.client.proposal_views import EndedView, Presence, ProposalView
from peer.client.queue_places import GetQueue, Queue
from peer.replica.changes import Vote
from peer.replica.signed import Entry
from peer.replica.trade import MarketTrade

Level = tuple[int, int, int]  # price in ticks, displayed quantity in lots (0: level gone), orders
# A peer's share of a level: its place in the mesh file from 0, displayed quantity, orders.
Share = tuple[int, int, int]
Stamp = tuple[int, int]  # the number of a trade, and its time in milliseconds
NO_STAMP: Stamp = (0, 0)


class Execute(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="execute"):
    """Commands with id 0: the node assigns the ids. At most COMMANDS_PER_REQUEST_MAX.

    If an order with the same `client_id` of the same account was ordered before, through any
    member, and is still remembered, or if it waits here, the node does not take the order again.
    Queued then has the first order's id, and Done its result if that is still known; otherwise
    `result_lost` follows. If it becomes known only when both are ordered that this one is the
    second, its Result names the first. So a program without an answer can send the order again, to
    any node. If the first order differs, the node refuses with `other_order`, or the market rejects
    the order with OTHER_ORDER. Withdrawing an order frees its `client_id`.

    A peer that only follows the mesh takes signed commands, up to FORWARDED_MAX in a request, and
    forwards them to a member, to another if that one fails. Queued says that a member has them on
    its disk. It comes again with other ids if another member's copy was ordered.

    The `order` of a cancel, reduce or replace may be an earlier command of the same request, which
    has no id yet: -1 is the request's first command, -2 its second, and so on. A signed command
    names orders by their ids.

    With a `source`, such as a client's address, commands that wait to be ordered count for that
    source, for their accounts, and for all key accounts together. Beyond the share of any of these
    the answer is `too_many_pending`. A program's own commands have no source.
    """

    commands: list[Entry]
    source: str = ""


class GetState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="get_state"):
    market: str
    depth: int = 1000  # levels per side


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


class Govern(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="govern"):
    """Votes of this member, with id 0. The proposal of an Approve may be an earlier vote of the
    same request: -1 is its first. A program that may connect here acts for the member."""

    votes: list[Vote]


class GetProposals(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="get_proposals"):
    pass


class Subscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="subscribe"):
    """At most TOPICS_PER_REQUEST_MAX, all of them or none. Under the request id of an earlier
    Subscribe it takes that one's place."""

    topics: list[str]


class Unsubscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unsubscribe"):
    pass


Request = (
    Execute
    | GetState
    | GetOrders
    | GetMarkets
    | GetAccounts
    | GetProposals
    | GetQueue
    | Govern
    | Withdraw
    | Subscribe
    | Unsubscribe
)


class Queued(msgspec.Struct, frozen=True, tag="queued"):
    """The commands are durable here and will be ordered. `ids` are in the order of the commands.
    The ids in `again` were taken before, under the same client ids, perhaps long ago."""

    ids: list[int]
    again: list[int] = []


class Result(msgspec.Struct, frozen=True, array_like=True, gc=False):
    id: int  # of the command
    events: list[Event]
    trades: list[int] = []  # the numbers of the trades among the events
    first: int = 0  # the order that counts, and whose events these are, if it is another one


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Final: these commands have been ordered and applied."""

    commit: int
    time_ms: int
    results: list[Result]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Nothing was taken. `code` is one of `busy`, `too_many_pending`, `invalid`, `not_member`,
    `halted`, `stopping`, `unknown`, `other_order`, `impossible` (a proposal); or the name of a
    Reason, if no peer would apply a command because of its signature or a full share, or if a
    proposal is over; or `result_lost`. `result_lost` after Queued means that the command was
    ordered but its result is no longer known here; or that too many callers wait for it already; or
    that the peer stops first and orders it after its next start. Before Queued it means that the
    disk failed: the next start shows whether the command was taken."""

    code: str
    reason: str


class State(msgspec.Struct, frozen=True, tag="state"):
    """One market's book between two commits, best levels first."""

    market: str
    seq: int  # of the last MarketUpdate that it includes
    commit: int
    time_ms: int
    digest: bytes
    bids: list[Level]
    asks: list[Level]
    trades: list[MarketTrade]  # newest first, at most TRADES_KEPT
    bid_shares: list[list[Share]] = []  # for each of `bids`, by peer; empty: not known
    ask_shares: list[list[Share]] = []


class Orders(msgspec.Struct, frozen=True, tag="orders"):
    account: str
    seq: int  # of the last update that it includes
    open: list[OpenOrder]
    pending: list[tuple[int, Command]]  # accepted here, not ordered yet: id, command


class Markets(msgspec.Struct, frozen=True, tag="markets"):
    """All markets, closed ones included, in the order in which they came."""

    peer: str
    mesh: str
    markets: list[Market]
    statuses: list[MarketStatus] = []  # of each


class MarketList(msgspec.Struct, frozen=True, tag="market_list"):
    """The markets as in Markets."""

    seq: int
    markets: list[Market]
    statuses: list[MarketStatus]


class Proposals(msgspec.Struct, frozen=True, tag="proposals"):
    """As an update it comes when `open` or `ended` has changed."""

    seq: int
    epoch: int
    members: list[Presence]
    open: list[ProposalView]  # the oldest first
    ended: list[EndedView]  # the last ones, the newest first
    seal: bytes = b""  # of the epoch; empty in the first
    sealed: bool = True  # a quorum of the epoch before has signed it, and that is ordered


class Accounts(msgspec.Struct, frozen=True, tag="accounts"):
    accounts: list[tuple[str, int]]  # with the numbers of their open orders, the most first


class Withdrawn(msgspec.Struct, frozen=True, tag="withdrawn"):
    """The withdrawn ids. The other ids of the request are in a block already, or unknown."""

    ids: list[int]


class Unsubscribed(msgspec.Struct, frozen=True, tag="unsubscribed"):
    pass


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """This subscription lost updates. The states of all its topics follow."""


Reply = (
    Queued
    | Done
    | Refused
    | State
    | Orders
    | Markets
    | Accounts
    | Proposals
    | Queue
    | Withdrawn
    | Unsubscribed
)


class MarketUpdate(msgspec.Struct, frozen=True, tag="market"):
    """Changed levels, with their new quantities, and trades, oldest first."""

    market: str
    seq: int
    commit: int
    time_ms: int
    bids: list[Level]
    asks: list[Level]
    trades: list[MarketTrade]
    bid_shares: list[list[Share]] = []  # for each of `bids`, by peer; empty: not known
    ask_shares: list[list[Share]] = []


class PendingUpdate(msgspec.Struct, frozen=True, tag="pending"):
    """An account's commands that this node has taken and that wait to be ordered, with their ids,
    and the ids of withdrawn ones."""

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
    trades: list[Stamp] = []  # of the trades among the events


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """All updates up to `commit` have been sent; `digest` is the engine's after it."""

    seq: int
    commit: int
    round: int
    time_ms: int
    digest: bytes


Update = MarketUpdate | PendingUpdate | AccountUpdate | Committed | Mesh | MarketList | Proposals
Streamed = State | Orders | Update | Lost  # messages of a subscription
Answer = Reply | Update | Lost

COMMANDS_PER_REQUEST_MAX = 1_000
FORWARDED_MAX = 12  # signed commands of a request at a follower, each of at most 1,024 bytes
TOPICS_PER_REQUEST_MAX = 100
DEPTH_MAX = 1_000  # levels per side in a State
ACCOUNTS_MAX = 1_000  # in one answer
ID_DIGITS_MAX = 16  # in each half of an id's text


def topic(kind: str, name: str = "") -> str:
    """`topic("market", "BTC-USD")` is `"market/BTC-USD"`."""
    return f"{kind}/{name}" if name else kind


def format_id(number: int) -> str:
    """An id as text, such as "2-17": the member that took the command, and its count there."""
    return f"{number % 256 + 1}-{number // 256}"


def parse_id(text: str) -> int:
    """The inverse of `format_id`. ValueError says what was expected."""
    member, _, count = text.partition("-")
    if not (member.isascii() and member.isdigit() and count.isascii() and count.isdigit()):
        raise ValueError(f"an id looks like 2-17 (member, count), not {text!r:.40}")
    short = len(member) <= ID_DIGITS_MAX and len(count) <= ID_DIGITS_MAX
    if not (short and 1 <= int(member) <= 256 and 1 <= int(count) < 2**45):
        raise ValueError(f"an id is 1-256 and a count below 2**45, not {text!r:.40}")
    return int(count) * 256 + int(member) - 1
