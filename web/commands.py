"""Placing, changing and cancelling orders: one use case each, however a request has come.

Owns who may do it, in which units, under which signature and at which rate; whether an order can
still be taken back; and what is answered. REST, the WebSocket and Grenache RPC parse a request,
call a use case, wait or are called back, and write the answer out. Must never know how a request
came, nor answer in the node's place.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from engine import Cancel, CancelAll, Submit
from peer.client.protocol import format_id
from peer.replica.signed import KEY_PREFIX, Entry
from web.auth.keys import Credential
from web.auth.signatures import cancelling, signed
from web.contract import requests
from web.contract.problems import Problem, refused, rejected
from web.contract.requests import CancelOrder, Change, NewOrder, Signature, Withdrawal
from web.contract.results import answer_json
from web.gateway import Gateway
from web.market_data.pending_requests import Submission

CATCH_UP_SECONDS = 0.25  # a final answer waits so long for the mirrors to show it too

Json = dict[str, Any]
OnChange = Callable[[Submission], None]  # on the link's thread


class Caller(Protocol):
    """Who sends a command: what they have proven to hold, and the address they are counted by."""

    @property
    def credential(self) -> Credential | None: ...
    @property
    def address(self) -> str: ...


class Commands:
    """Safe for many threads. Each use case sends its commands to the node and returns; `on_change`
    is told of every answer of the node; without it, `wait` for them. Problem if the caller
    may not send them, or they can't be meant, or are too many."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def place(
        self, caller: Caller, order: NewOrder, on_change: OnChange | None = None
    ) -> Submission:
        return self._submit(caller, [self._new(caller, order)], on_change)

    def place_many(
        self, caller: Caller, orders: Iterable[NewOrder], on_change: OnChange | None = None
    ) -> Submission:
        """In order and right behind one another; if one of them is not valid, none is sent."""
        entries: list[Entry] = []
        try:
            for order in orders:
                entries += [self._new(caller, order)]
        except Problem as problem:
            problem.more["index"] = len(entries)
            raise
        return self._submit(caller, entries, on_change)

    def _new(self, caller: Caller, order: NewOrder) -> Entry:
        account = self._trader(caller, order.account, order.signature)
        command = requests.submit_of(order, self._gateway.units(order.market), account)
        return signed(command, order.signature, self._gateway.mesh_id)

    def change(
        self,
        caller: Caller,
        order: object,
        change: Change,
        on_change: OnChange | None = None,
        seconds: float = 0.0,
    ) -> Submission:
        """A smaller quantity keeps the order's place in the queue; anything else loses it. The
        account's orders are waited for up to `seconds`."""
        gateway, account = self._gateway, self._trader(caller, change.account, change.signature)
        if change.signature is not None:
            units = gateway.units(change.market)
            command = requests.signed_change_of(change, account, order, units)
            return self._submit(
                caller, [signed(command, change.signature, gateway.mesh_id)], on_change
            )
        known = gateway.open_order(account, requests.order_id(order), seconds)
        entry = requests.change_of(change, known, gateway.units(known.market))
        return self._submit(caller, [entry], on_change)

    def cancel(
        self, caller: Caller, wanted: CancelOrder, on_change: OnChange | None = None
    ) -> Submission:
        """Take an order back that no other peer has seen, or else cancel it."""
        account = self._trader(caller, wanted.account, wanted.signature)
        command = requests.cancel_of(wanted, account)
        entry = self._cancelling(caller, command, wanted.signature)
        self._admit(caller, [entry], on_change)
        return self._gateway.desk.cancel(entry, caller.address, on_change)

    def cancel_all(
        self, caller: Caller, wanted: Withdrawal, on_change: OnChange | None = None
    ) -> Submission:
        """All orders of an account, or those of one market or one side."""
        account = self._trader(caller, wanted.account, wanted.signature)
        command = requests.cancel_all_of(wanted, account)
        entry = self._cancelling(caller, command, wanted.signature)
        return self._submit(caller, [entry], on_change)

    def answer(self, submission: Submission, index: int = 0) -> Json:
        """What is known of a command: its final result, or that it is pending."""
        return answer_json(submission, index, self._gateway.mirrors)

    def wait(self, submission: Submission) -> None:
        """Until the commands are ordered, but no longer than the timeout; while many wait already,
        only until they are on disk here, so that some threads are always free. Problem if they were
        refused, or if it is not known whether they were taken, or if a change was rejected. (A
        rejected order is a result: it has been ordered and is final.)"""
        gateway, seconds = self._gateway, self._gateway.config.order_timeout
        if gateway.waiting.acquire(blocking=False):
            try:
                submission.wait(seconds)
            finally:
                gateway.waiting.release()
        else:
            submission.wait_queued(seconds)
        if submission.refused is not None:
            raise refused(submission.refused, submission.ids)
        if not (submission.ids or submission.is_complete):
            raise Problem(
                504,
                "The peer's node did not answer: the order may or may not have been taken. "
                "Look at your open orders before you send it again.",
                "unknown_outcome",
            )
        gateway.mirrors.await_commit(submission.commit, CATCH_UP_SECONDS)
        for id_, command in zip(submission.ids, submission.commands, strict=False):
            outcome = submission.outcomes.get(id_)
            if outcome and outcome.reason is not None and not isinstance(command, Submit):
                about = outcome.order.id if outcome.order else id_
                raise rejected(outcome.reason, id=format_id(about), commit=submission.commit)

    def _trader(self, caller: Caller, named: str, signature: Signature | None) -> str:
        """The account to trade for."""
        is_signed = signature is not None
        return self._gateway.access.trader(named, is_signed, caller.credential, caller.address)

    def _cancelling(
        self, caller: Caller, command: Cancel | CancelAll, signature: Signature | None
    ) -> Entry:
        is_operator = self._gateway.access.is_operator(caller.credential)
        return cancelling(command, signature, self._gateway.mesh_id, is_operator)

    def _submit(
        self, caller: Caller, entries: Sequence[Entry], on_change: OnChange | None
    ) -> Submission:
        self._admit(caller, entries, on_change)
        return self._gateway.desk.submit(entries, caller.address, on_change)

    def _admit(self, caller: Caller, entries: Sequence[Entry], on_change: OnChange | None) -> None:
        """Problem if these are too many. A caller that waits may ask for the account's orders next:
        they are watched from now on."""
        self._gateway.access.admit(entries, caller.address)
        if on_change is None:
            for name in dict.fromkeys(entry.account for entry in entries):
                if not name.startswith(KEY_PREFIX):  # anybody can make any number of those
                    self._gateway.watch_account(name)
