"""The routes for proposals of the members: list them, propose, approve, withdraw.

Owns their paths. Must never vote for a caller without the scope `admin`.
"""

import queue
import time
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from engine import Rejected
from peer.client import protocol
from peer.client.change_input import Known, change_of
from peer.client.order_input import InvalidInputError
from peer.client.protocol import format_id
from peer.replica.changes import Approve, Propose, Vote, Withdraw
from web.contract import requests
from web.contract.openapi import WRITES
from web.contract.problems import Problem, refused, rejected
from web.contract.proposal_responses import NewProposal, Proposals, Voted
from web.routes.operations import Routes
from web.routes.request import body, needs_operator, the_gateway

routes = Routes("proposals")
NODE_SECONDS = 5.0
ReplyT = TypeVar("ReplyT", bound=protocol.Answer)


@routes.operation("get", "/proposals", Proposals)
def proposals() -> Proposals:
    """The members that take part, and their proposals."""
    return Proposals.of(_view())


@routes.operation("post", "/proposals", Voted, WRITES, body=NewProposal)
def propose() -> Voted:
    """Propose changes in the name of this peer's member, which approves them.

    For the peer's operator."""
    needs_operator()
    try:
        asked = msgspec.convert(body(), NewProposal)
    except msgspec.ValidationError as error:
        raise Problem(400, f"{error}.", "invalid", "changes") from None
    view = _view()
    mirrors = the_gateway().mirrors
    with mirrors.lock:
        markets = {symbol: book.units.market for symbol, book in mirrors.books.items()}
    known = Known(markets, view.members)
    try:
        changes = tuple(change_of(each, known) for each in asked.changes)
    except InvalidInputError as error:
        raise Problem(400, str(error), "invalid", error.field) from None
    vote = Propose(0, changes, asked.force, asked.unsealed)
    return _voted(_cast([vote, Approve(0, -1, view.epoch)])[0])


@routes.operation("post", "/proposals/{id}/approve", Voted, WRITES)
def approve(text: str) -> Voted:
    """Approve a proposal for this peer's member; for its operator."""
    needs_operator()
    number = requests.order_id(text)
    _cast([Approve(0, number, _view().epoch)])
    return _voted(number)


@routes.operation("post", "/proposals/{id}/withdraw", Voted, WRITES)
def withdraw(text: str) -> Voted:
    """Withdraw a proposal of this peer's member, or be against another's; for its operator."""
    needs_operator()
    number = requests.order_id(text)
    _cast([Withdraw(0, number)])
    return _voted(number)


def _ask(request: protocol.Request) -> "queue.SimpleQueue[protocol.Answer]":
    replies: queue.SimpleQueue[protocol.Answer] = queue.SimpleQueue()
    the_gateway().link.request(request, replies.put)
    return replies


def _next(
    replies: "queue.SimpleQueue[protocol.Answer]", kind: type[ReplyT], deadline_s: float
) -> ReplyT:
    """The next answer. Problem if the node refuses, or does not answer in time."""
    try:
        reply = replies.get(timeout=max(0.0, deadline_s - time.monotonic()))
    except queue.Empty:
        text = "This peer's node did not answer in time: look at the proposals first."
        raise Problem(504, text, "unknown_outcome") from None
    if isinstance(reply, protocol.Refused):
        raise refused(reply)
    assert isinstance(reply, kind), f"{reply} answers another request"
    return reply


def _view() -> protocol.Proposals:
    deadline_s = time.monotonic() + NODE_SECONDS
    return _next(_ask(protocol.GetProposals()), protocol.Proposals, deadline_s)


def _cast(votes: Sequence[Vote]) -> list[int]:
    """Send votes and wait until they are ordered. Returns the ids of their commands. Problem if
    one does not count."""
    deadline_s = time.monotonic() + the_gateway().config.order_timeout
    replies = _ask(protocol.Govern(list(votes)))
    ids = _next(replies, protocol.Queued, deadline_s).ids
    results: list[protocol.Result] = []
    while len(results) < len(votes):
        results += _next(replies, protocol.Done, deadline_s).results
    for result in results:
        for event in result.events:
            if isinstance(event, Rejected):
                raise rejected(event.reason)
    return ids


def _voted(number: int) -> Voted:
    view, name = _view(), format_id(number)
    for proposal in view.open:
        if proposal.id == number:
            return Voted(name, proposal.state)
    outcomes = {ended.id: ended.outcome for ended in view.ended}
    return Voted(name, outcomes.get(number, "over").replace("_", " "))
