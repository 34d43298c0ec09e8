"""The messages of a WebSocket client, and the answers.

Owns the operations: subscribe, unsubscribe, order, change, cancel, cancel_all, ping. Runs on the
hub's thread, so it must never block: the answers to commands come from the link's thread, through
the hub.

    -> {"op": "order", "id": 7, "order": {"side": "buy", …}}
    <- {"reply": 7, "ok": true, "pending": true, "result": {…}}      when the peer has it on disk
    <- {"reply": 7, "ok": true, "pending": false, "result": {…}}     when it is ordered
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from web.auth.keys import Scope
from web.commands import Commands
from web.contract import requests
from web.contract.problems import Problem, refused
from web.contract.results import answer_of
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
            self._gateway.feed.note_listeners(name, listeners)
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
            answer = {"ok": False, "error": problem.view}
        except ClosedError:  # the client left during the answer
            raise
        except Exception:  # a bug of ours: answer as over HTTP
            log.exception("a message failed")
            failed = Problem(500, "The gateway failed; its log says why.", "failed")
            answer = {"ok": False, "error": failed.view}
        if answer is None:  # a command: its answers come later, on this thread
            client.in_flight += 1
        else:
            client.send_reply(self._encode({"reply": name, "ok": True} | answer))

    def _account(self, client: Client, scope: Scope, named: object) -> str:
        """The account to act for. Checks the credential again: it may have been revoked."""
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
        self._commands(client, message).place(order)

    def _change(self, client: Client, message: Json) -> None:
        fields = [field.name for field in msgspec.structs.fields(requests.Change)]
        change = requests.parse(requests.Change, {key: message.get(key) for key in fields})
        self._commands(client, message).change(message.get("order"), change)

    def _cancel(self, client: Client, message: Json) -> None:
        given = {"signature": message.get("signature")}
        signature = requests.parse(requests.Authority, given).signature
        account = requests.account_of(message.get("account"), "")
        wanted = requests.CancelOrder(message.get("order", ""), account, signature)
        self._commands(client, message).cancel(wanted)

    def _cancel_all(self, client: Client, message: Json) -> None:
        fields = [field.name for field in msgspec.structs.fields(requests.Withdrawal)]
        given = {key: message[key] for key in fields if message.get(key)}
        wanted = requests.parse(requests.Withdrawal, given)
        self._commands(client, message).cancel_all(wanted)

    def _commands(self, client: Client, message: Json) -> Commands:
        """The commands of a client, which gets each answer as it comes."""
        if client.in_flight >= IN_FLIGHT_MAX:
            raise Problem(429, "Too many commands of this connection are waiting.", "in_flight")

        def tell(submission: Submission) -> None:
            done = submission.is_complete
            view: Json = {"reply": message.get("id"), "ok": True, "pending": not done}
            if submission.refused is not None:
                view |= {"ok": False, "error": refused(submission.refused, submission.ids).view}
            else:
                view["result"] = answer_of(submission, self._gateway.mirrors)
            self._gateway.hub.reply(client, self._encode(view), done)

        return Commands(self._gateway, client, tell, has_streams=True)
