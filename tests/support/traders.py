"""Clients under chaos that record their commands and the answers.

Owns one thread and one connection each. Must never look at a peer's book or journal: the records
are compared with these in the end.
"""

import random
import threading
import time
from dataclasses import dataclass, field

from engine import Accepted, Cancel, Cancelled, Event, Side, Submit, Trade
from peer.client.connection import NodeClient
from peer.client.endpoint import Endpoint
from peer.client.protocol import Done, Execute, Queued, Refused, Reply
from peer.client.signer import Signer
from tests.support.real_mesh import MARKET

WINDOW = 24  # commands without an answer
PATIENCE_S = 2.0  # after this time an order without a result is sent again, with its client id
LAST_PATIENCE_S = 40.0  # for the last answers
PAUSE_S = 0.004
CANCELS = 0.2
# Known open orders of a trader. A key may have 500; if the result of an order refused for that
# reason were lost, it would look like a lost order.
OPEN_MAX = 200


@dataclass
class Sent:
    """One command and all its answers."""

    command: Submit | Cancel
    queued: int = 0  # its id, once acknowledged
    refused: str = ""
    events: list[Event] | None = None  # its final result
    sent_s: float = 0.0  # monotonic, not after it was first sent
    answered_s: float = 0.0  # monotonic, not before its result came
    commit: int = 0  # its commit, by that result
    time_ms: int = 0


@dataclass
class Record:
    """What a trader knows, by its own numbers of commands."""

    account: str
    sent: dict[int, Sent] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)  # impossible answers
    again: int = 0  # number of repeated sends

    @property
    def orders(self) -> list[Sent]:
        return [one for one in self.sent.values() if isinstance(one.command, Submit)]

    @property
    def cancels(self) -> list[Sent]:
        return [one for one in self.sent.values() if isinstance(one.command, Cancel)]

    def counts(self) -> dict[str, int]:
        sent = self.sent.values()
        return {
            "sent": len(sent),
            "acknowledged": sum(bool(one.queued) for one in sent),
            "sent again": self.again,
            "with result": sum(one.events is not None for one in sent),
            "refused": sum(bool(one.refused) for one in sent),
        }


class Trader:
    """Sends limit orders, each with its own client id, and cancels. Signs them with the account's
    own key if it has one."""

    def __init__(
        self, account: str, where: Endpoint, seed: int, signer: Signer | None = None
    ) -> None:
        self.record = Record(account)
        self._signer = signer
        self.where = where
        self._rng = random.Random(seed)
        self._requests: dict[bytes, int] = {}  # request -> number of the command
        self._under_way: dict[int, float] = {}
        self._open: list[int] = []  # ids of orders that may be cancelled
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=account)

    def start(self) -> None:
        self._thread.start()

    @property
    def sends(self) -> bool:
        """Whether it was not told to stop."""
        return not self._stop.is_set()

    def stop_sending(self) -> None:
        self._stop.set()

    def join(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with NodeClient(self.where) as client:
            until_s = float("inf")
            while time.monotonic() < until_s and not (self._stop.is_set() and self._knows_all()):
                if self._stop.is_set():
                    until_s = min(until_s, time.monotonic() + LAST_PATIENCE_S)
                elif len(self._under_way) < WINDOW:
                    self._send(client)
                self._send_again(client)
                answer = client.receive(PAUSE_S)
                while answer is not None:
                    self._note(*answer)
                    answer = client.receive(0)

    def _knows_all(self) -> bool:
        """Whether every order was acknowledged or refused."""
        return all(one.queued or one.refused for one in self.record.orders)

    def _send_again(self, client: NodeClient) -> None:
        """Send again each order without a result. A cancel has no client id, so it is sent only
        once."""
        late_s = time.monotonic() - PATIENCE_S
        for number in [n for n, at_s in self._under_way.items() if at_s < late_s]:
            del self._under_way[number]
            command = self.record.sent[number].command
            if isinstance(command, Submit):
                self._submit(client, number, command)
                self.record.again += 1

    def _send(self, client: NodeClient) -> None:
        number, rng = len(self.record.sent) + 1, self._rng
        command: Submit | Cancel
        if len(self._open) > OPEN_MAX or (self._open and rng.random() < CANCELS):
            order = self._open.pop(rng.randrange(len(self._open)))
            command = Cancel(0, self.record.account, order)
        else:
            command = Submit(
                0,
                self.record.account,
                MARKET,
                rng.choice((Side.BUY, Side.SELL)),
                rng.randint(1, 50),
                rng.randint(9_970, 10_030),
                client_id=f"{self.record.account}/{number}",
            )
        self.record.sent[number] = Sent(command, sent_s=time.monotonic())
        self._submit(client, number, command)

    def _submit(self, client: NodeClient, number: int, command: Submit | Cancel) -> None:
        self._under_way[number] = time.monotonic()
        entry = self._signer.sign(command) if self._signer else command
        self._requests[client.send(Execute([entry]))] = number

    def _note(self, request: bytes, reply: Reply) -> None:
        number = self._requests[request]
        sent = self.record.sent[number]
        match reply:
            case Queued([id_]):
                if sent.queued not in (0, id_):
                    self._fault(number, f"acknowledged as {sent.queued} and as {id_}")
                sent.queued = id_
            case Done(commit, time_ms, [result]):
                told = (None, 0, 0), (result.events, commit, time_ms)
                if (sent.events, sent.commit, sent.time_ms) not in told or result.id != sent.queued:
                    self._fault(number, f"another or wrong result: {reply} after {sent}")
                if sent.events is None:
                    self._keep_if_open(result.id, result.events)
                    sent.answered_s = time.monotonic()
                sent.events, sent.commit, sent.time_ms = result.events, commit, time_ms
                self._under_way.pop(number, None)
            case Refused("result_lost" as code) if not sent.queued:
                self._fault(number, f"{code} before it was acknowledged")
            case Refused(code):
                self._under_way.pop(number, None)
                if code != "result_lost":
                    sent.refused = code
            case _:
                self._fault(number, f"told {reply}")

    def _keep_if_open(self, id_: int, events: list[Event]) -> None:
        last = events[-1] if events else None
        rests = isinstance(last, Accepted) or (isinstance(last, Trade) and last.taker_remaining > 0)
        if rests and not any(isinstance(event, Cancelled) for event in events):
            self._open.append(id_)

    def _fault(self, number: int, what: str) -> None:
        self.record.faults.append(f"{self.record.account}/{number}: {what}")
