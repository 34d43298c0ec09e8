"""Placing, changing and cancelling orders: one use case each, for every way a request can come.

Owns the checks of permission, units, signature and rate, and whether an order can still be
withdrawn. REST, the WebSocket and Grenache RPC parse a request, call a use case, wait or get a
callback, and write the answer. Must never know how a request came, nor answer for the node.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from engine import Cancel, CancelAll, Reason
from peer.replica.signed import KEY_PREFIX, Entry
from web.auth.keys import Credential
from web.auth.signatures import cancelling, signed
from web.contract import requests
from web.contract.problems import Problem, refused, rejected
from web.contract.requests import CancelOrder, Change, NewOrder, Signature, Withdrawal
from web.contract.responses import Order, Rejected, Result
from web.contract.results import answer_of, placed
from web.gateway import Gateway
from web.market_data.pending_requests import OnChange, Submission


class Caller(Protocol):
    """The sender of a command: its verified credential, and the address by which it is counted."""

    @property
    def credential(self) -> Credential | None: ...
    @property
    def address(self) -> str: ...


class Commands(NamedTuple):
    """The commands of one caller. Each use case sends its commands to the node and returns. Then
    either `on_change` gets every answer of the node, on the link's thread, or the caller waits.
    Problem if the caller may not send a command, if it is invalid, or if there are too many.
    `has_streams`: the caller hears of its orders by streams of its own."""

    gateway: Gateway
    caller: Caller
    on_change: OnChange | None = None
    has_streams: bool = False

    def place(self, order: NewOrder) -> Submission:
        return self._submit([self._new(order)])

    def place_many(self, orders: Iterable[NewOrder]) -> Submission:
        """In order, without other commands between them. If one is invalid, none is sent."""
        entries: list[Entry] = []
        try:
            for order in orders:
                entries += [self._new(order)]
        except Problem as problem:
            problem.more["index"] = len(entries)
            raise
        return self._submit(entries)

    def _new(self, order: NewOrder) -> Entry:
        account = self._trader(order.account, order.signature)
        command = requests.submit_of(order, self.gateway.units(order.market), account)
        return signed(command, order.signature, self.gateway.mesh_id)

    def change(self, order: object, change: Change, seconds: float = 0.0) -> Submission:
        """A smaller quantity keeps the order's place in the queue, any other change loses it.
        Waits up to `seconds` for the account's orders."""
        account, gateway = self._trader(change.account, change.signature), self.gateway
        if change.signature is not None:
            units = gateway.units(change.market)
            command = requests.signed_change_of(change, account, order, units)
            return self._submit([signed(command, change.signature, gateway.mesh_id)])
        known = gateway.open_order(account, requests.order_id(order), seconds)
        return self._submit([requests.change_of(change, known, gateway.units(known.market))])

    def cancel(self, wanted: CancelOrder) -> Submission:
        """Withdraw an order that no other peer has seen; otherwise cancel it."""
        account = self._trader(wanted.account, wanted.signature)
        entry = self._cancelling(requests.cancel_of(wanted, account), wanted.signature)
        self._admit([entry])
        return self.gateway.pending.cancel(entry, self.caller.address, self.on_change)

    def cancel_all(self, wanted: Withdrawal) -> Submission:
        """Cancel all orders of an account, or those of one market or one side."""
        account = self._trader(wanted.account, wanted.signature)
        command = requests.cancel_all_of(wanted, account)
        return self._submit([self._cancelling(command, wanted.signature)])

    def _trader(self, named: str, signature: Signature | None) -> str:
        """The account for which the caller trades."""
        caller, is_signed = self.caller, signature is not None
        return self.gateway.access.trader(named, is_signed, caller.credential, caller.address)

    def _cancelling(self, command: Cancel | CancelAll, signature: Signature | None) -> Entry:
        is_operator = self.gateway.access.is_operator(self.caller.credential)
        return cancelling(command, signature, self.gateway.mesh_id, is_operator)

    def _submit(self, entries: Sequence[Entry]) -> Submission:
        self._admit(entries)
        return self.gateway.pending.submit(entries, self.caller.address, self.on_change)

    def _admit(self, entries: Sequence[Entry]) -> None:
        """Problem if these are too many. A caller without streams may ask for the account's orders
        next, so the gateway watches them from now on."""
        self.gateway.access.admit(entries, self.caller.address)
        if not self.has_streams:
            for name in dict.fromkeys(entry.account for entry in entries):
                if not name.startswith(KEY_PREFIX):  # a client can make any number of those
                    self.gateway.feed.watch(name)

    def result(self, submission: Submission) -> Result:
        """Wait for the result of one command. Problem if a change was rejected. (A rejected order
        is a result: it has been ordered and is final.)"""
        self.wait(submission)
        return self.result_now(submission)

    def result_now(self, submission: Submission) -> Result:
        """The result of one command as far as it is known. Problem likewise."""
        self.check(submission)
        found = answer_of(submission, self.gateway.mirrors)
        if isinstance(found, Rejected):
            raise rejected(Reason[found.reason.upper()], id=found.id, commit=found.commit)
        return found

    def wait(self, submission: Submission) -> None:
        """Wait until the commands are ordered, at most for the timeout. While many requests wait
        already, wait only until they are on disk here, so that some threads stay free. Problem if
        the node refused them, or if it is unknown whether the node took them."""
        gateway, seconds = self.gateway, self.gateway.config.order_timeout
        if gateway.waiting.acquire(blocking=False):
            try:
                submission.wait(seconds)
            finally:
                gateway.waiting.release()
        else:
            submission.wait_queued(seconds)
        self.check(submission)

    def results_now(self, submission: Submission) -> list[Order]:
        """The results of new orders as far as they are known. Problem as `check`."""
        self.check(submission)
        count, mirrors = len(submission.commands), self.gateway.mirrors
        return [placed(submission, index, mirrors) for index in range(count)]

    def check(self, submission: Submission) -> None:
        """Problem if the node refused the commands, or if it is unknown whether it took them."""
        if submission.refused is not None:
            raise refused(submission.refused, submission.ids)
        if not (submission.ids or submission.is_complete):
            raise Problem(
                504,
                "The peer's node did not answer: the order may or may not have been taken. "
                "Look at your open orders before you send it again.",
                "unknown_outcome",
            )
