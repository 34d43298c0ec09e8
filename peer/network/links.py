"""What a peer knows of one other member: where it may be, what it last said, its limits.

Owns the counts of unread messages. Must never use the sockets it holds: `mesh` does.
"""

import random
from collections.abc import Mapping
from typing import NamedTuple

import zmq

from discovery.grape import Address
from peer.consensus.dag import WAITING_MAX
from peer.membership.epochs import SEATS_MAX
from peer.network.addresses import AddressBook
from peer.network.answer_timeout import AnswerTimeout
from peer.network.messages import Heartbeat
from peer.network.rate_limit import TokenBucket

QUEUE_MESSAGES_MAX = 1_000
FLOOD_MESSAGES = 2_000  # this many left unread at once are a flood
OWED_MAX = 64  # answers one member may still give
UNREAD_MS = 10  # average time per message that may be left unread
FLOOD_PAUSE_MS = 10_000


class Flooded(NamedTuple):
    """A member sends more than it can need; this peer does not hear it for FLOOD_PAUSE_MS."""

    member: int


class Subscription:
    """What a member says at one address, and how much more it may say."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        self.heard_ms = -1
        self.fetch_port = 0  # that the member named there
        self.blocks = TokenBucket(WAITING_MAX)  # more than this could not be accepted
        self.heartbeats = TokenBucket(QUEUE_MESSAGES_MAX)  # as many may have waited for this peer


class Link:
    """The sockets to one member."""

    def __init__(self, member: int, server_key: bytes) -> None:
        self.member = member
        self.server_key = server_key
        self.book = AddressBook(random.Random())
        self.addresses: dict[Address, Subscription] = {}  # those that `book` has connected
        self.fetch: zmq.Socket[bytes] | None = None
        self.fetch_place = Address("", 0)
        self.fetch_home: Address | None = None  # the home at which the fetch port was named
        self.answer_timeout = AnswerTimeout()
        self.renewed = 0  # reconnects for fetches, after missing answers
        self.move_ms = 0  # no move to another place before then: each takes a socket
        self.heard_ms = -1
        self.cut = False
        self.paused_until_ms = 0
        self.unread = 0  # messages, of all the member sent
        self.excess = TokenBucket(FLOOD_MESSAGES)  # how many more may stay unread
        self.floods = False
        self.foreign = 0  # heartbeats of another mesh
        self.owed = 0  # answers the member may still give
        self.heartbeat: Heartbeat | None = None
        self.address = ""

    def fetch_places(self, since_ms: int) -> list[Address]:
        """Where the member said that it answers, and was heard since."""
        subscriptions = self.addresses.items()
        return [Address(a.host, s.fetch_port) for a, s in subscriptions if s.heard_ms >= since_ms]

    @property
    def is_candidate(self) -> bool:
        """Whether it last spoke as one."""
        return self.heartbeat is not None and self.heartbeat.member == SEATS_MAX

    @property
    def barred(self) -> str:
        """Why this peer drops the member's messages, as in `api.MemberView`."""
        if self.cut:
            return "cut off"
        if self.paused_until_ms:
            return "floods"
        return "another mesh" if self.foreign and self.heard_ms < 0 else ""


def renumber(links: dict[int, Link], members: Mapping[bytes, int]) -> None:
    """A candidate that has a seat now keeps its link. `members`: seats by CURVE key."""
    for link in list(links.values()):
        number = members.get(link.server_key, link.member)
        if number not in links:
            del links[link.member]
            link.member = number
            links[number] = link
