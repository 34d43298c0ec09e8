"""What a browser may say over a WebSocket, and the answers.

Owns the operations: subscribe, unsubscribe, order, change, cancel, cancel_all, ping. Runs on the
hub's thread, so it must never block: the answers to commands come back from the link's thread
through the hub.

    -> {"op": "order", "id": 7, "order": {"side": "buy", …}}
    <- {"reply": 7, "ok": true, "pending": true, "result": {…}}      once the peer has it on disk
    <- {"reply": 7, "ok": true, "pending": false, "result": {…}}     once all peers have ordered it
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from engine import Cancel, CancelAll, Command
from peer.replica.signed import Entry
from web.auth.keys import Scope
from web.auth.signatures import cancelling, signed
from web.contract import requests
from web.contract.problems import Problem, refused
from web.contract.results import answer_json, withdrawn_json
from web.gateway import Gateway
from web.market_data.pending_requests import Submission
from web.streams.channels import ACCOUNT_CHANNELS, MARKET_CHANNELS, channel_key
from web.streams.frames import CLOSE_POLICY
from web.streams.subscriber import IN_FLIGHT_MAX, Client, ClosedError

Json = dict[str, Any]
log = logging.getLogger(__name__)


class Session:
    """The hub's `Source`: one for all clients."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._encode = msgspec.json.Encoder().encode
        self._operations: dict[str, Callable[[Client, Json], Json | None]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "order": self._order,
            "change": self._change,
            "cancel": self._cancel,
            "cancel_all": self._cancel_all,
            "ping": lambda client, message: {"pong": True},
        }

    def snapshot(self, channel: str) -> tuple[int, bytes] | None:
        return self._gateway.publisher.snapshot(channel)

    def on_audience(self, channel: str, listeners: int) -> None:
        kind, _, name = channel.partition("/")
        if kind in ACCOUNT_CHANNELS:
            self._gateway.note_listeners(name, listeners)
        if listeners:
            self._gateway.publisher.wanted(channel)

    def permissions(self) -> object:
        return self._gateway.access.version()

    def may_hear(self, client: Client, channels: Iterable[str]) -> bool:
        who = self._gateway.access.who(client.credential)
        parts = (channel.partition("/") for channel in channels)
        private = [name for kind, _, name in parts if kind in ACCOUNT_CHANNELS]
        return who is not None and all(who.may(Scope.READ, name) for name in private)

    def on_message(self, client: Client, text: str) -> None:
        name = None
        try:
            self._gateway.access.pace(client.address)
        except Problem as problem:
            client.refuse(CLOSE_POLICY, problem.detail)
        try:
            message = requests.parse_json(text)
            if not isinstance(message, dict):
                raise Problem(400, 'An object such as {"op": "ping"} was expected.', "not_object")
            name = requests.name_of(message.get("id"))
            operation = self._operations.get(str(message.get("op")))
            if operation is None:
                wanted = ", ".join(self._operations)
                raise Problem(400, f"There is no such operation; there is {wanted}.", "invalid_op")
            answer = operation(client, message)
        except Problem as problem:
            answer = {"ok": False, "error": problem.json()}
        except ClosedError:  # it went away while it was being answered
            raise
        except Exception:  # our bug: the client learns that it was ours, as over HTTP
            log.exception("a message failed")
            failed = Problem(500, "The gateway failed; its log says why.", "failed")
            answer = {"ok": False, "error": failed.json()}
        if answer is not None:
            client.send_reply(self._encode({"reply": name, "ok": True} | answer))

    def _account(self, client: Client, scope: Scope, named: object) -> str:
        """The account to act for; the credential may have been revoked since the last message."""
        name = requests.account_of(named, "")
        return self._gateway.access.account(scope, name, client.credential)

    def _channel(self, client: Client, message: Json) -> str:
        kind = str(message.get("channel"))
        market, account = str(message.get("market") or ""), ""
        if kind in MARKET_CHANNELS:
            market = self._gateway.units(market).market.symbol
        if kind in ACCOUNT_CHANNELS:
            account = self._account(client, Scope.READ, message.get("account"))
        interval = requests.interval_of(message.get("interval", ""))
        channel = channel_key(kind, market, account, interval)
        if channel is None:
            raise Problem(404, f"There is no channel {kind:.40}.", "unknown_channel", "channel")
        return channel

    def _subscribe(self, client: Client, message: Json) -> Json:
        channel = self._channel(client, message)
        if not self._gateway.hub.subscribe(client, channel):
            raise Problem(429, "Too many channels on one connection.", "too_many_channels")
        return {"channel": channel}

    def _unsubscribe(self, client: Client, message: Json) -> Json:
        channel = self._channel(client, message)
        self._gateway.hub.unsubscribe(client, channel)
        return {"channel": channel}

    def _order(self, client: Client, message: Json) -> None:
        order = requests.parse(requests.NewOrder, message.get("order"))
        units = self._gateway.units(order.market)
        account = self._trader(client, order.account, order.signature)
        command = requests.submit_of(order, units, account)
        self._submit(client, message, self._signed(command, order.signature))

    def _change(self, client: Client, message: Json) -> None:
        fields = [field.name for field in msgspec.structs.fields(requests.Change)]
        wish = requests.parse(requests.Change, {key: message.get(key) for key in fields})
        account = self._trader(client, wish.account, wish.signature)
        if wish.signature is not None:
            units = self._gateway.units(wish.market)
            command = requests.signed_change_of(wish, account, message.get("order"), units)
            self._submit(client, message, self._signed(command, wish.signature))
            return
        wanted = requests.order_id(message.get("order"))
        known = self._gateway.open_order(account, wanted)
        units = self._gateway.units(known.market)
        self._submit(client, message, requests.change_of(wish, known, units))

    def _cancel(self, client: Client, message: Json) -> None:
        wish = {name: message[name] for name in ("signature",) if name in message}
        signature = requests.parse(requests.Authority, wish).signature
        account = self._trader(client, requests.account_of(message.get("account"), ""), signature)
        command = requests.cancel_of(message.get("order"), account)
        entry = self._cancelling(client, command, signature)
        if not self._gateway.desk.is_pending(command.order):
            self._submit(client, message, entry)
            return
        self._take_slot(client, entry)

        def answer(withdrawn: bool) -> None:
            if withdrawn:
                view = {"reply": message.get("id"), "ok": True, "pending": False}
                view["result"] = withdrawn_json(command.order)
                self._gateway.hub.reply(client, self._encode(view))
            else:
                self._send(client, message, entry)

        self._gateway.desk.withdraw(account, command.order, answer)

    def _cancel_all(self, client: Client, message: Json) -> None:
        fields = [field.name for field in msgspec.structs.fields(requests.Withdrawal)]
        given = {key: message[key] for key in fields if message.get(key)}
        wish = requests.parse(requests.Withdrawal, given)
        account = self._trader(client, wish.account, wish.signature)
        command = requests.cancel_all_of(wish, account)
        self._submit(client, message, self._cancelling(client, command, wish.signature))

    def _take_slot(self, client: Client, entry: Entry) -> None:
        self._gateway.access.admit([entry], client.address)
        if client.in_flight >= IN_FLIGHT_MAX:
            raise Problem(429, "Too many commands of this connection are waiting.", "in_flight")
        client.in_flight += 1

    def _trader(self, client: Client, named: str, signature: requests.Signature | None) -> str:
        access = self._gateway.access
        return access.trader(named, signature is not None, client.credential, client.address)

    def _signed(self, command: Command, signature: requests.Signature | None) -> Entry:
        return signed(command, signature, self._gateway.mesh_id)

    def _cancelling(
        self,
        client: Client,
        command: Cancel | CancelAll,
        signature: requests.Signature | None,
    ) -> Entry:
        is_operator = self._gateway.access.is_operator(client.credential)
        return cancelling(command, signature, self._gateway.mesh_id, is_operator)

    def _submit(self, client: Client, message: Json, command: Entry) -> None:
        self._take_slot(client, command)
        self._send(client, message, command)

    def _send(self, client: Client, message: Json, command: Entry) -> None:
        name = message.get("id")

        def answer(submission: Submission) -> None:
            view: Json = {"reply": name, "ok": True, "pending": not submission.is_complete}
            if submission.refused is not None:
                view |= {"ok": False, "error": refused(submission.refused, submission.ids).json()}
            else:
                view["result"] = answer_json(submission, 0, self._gateway.mirrors)
            done = submission.is_complete
            self._gateway.hub.reply(client, self._encode(view), done)

        self._gateway.desk.submit([command], client.address, answer)
