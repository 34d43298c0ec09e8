"""The hub with real sockets: each client gets everything, and a slow client harms no other."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.support.web_gateway import wait_for
from web.streams import hub as hub_module
from web.streams import ring
from web.streams import subscriber as client_module
from web.streams.frames import text_frame
from web.streams.hub import STRANGERS_PERCENT, Hub
from web.streams.subscriber import Client, Kind


class Source:
    """Snapshots with the seq that they cover."""

    def __init__(self) -> None:
        self.seq = 0
        self.pad = 1000  # bytes in a snapshot
        self.heard: list[str] = []
        self.audience: dict[str, int] = {}

    def snapshot(self, channel: str) -> tuple[int, bytes] | None:
        view = {"channel": channel, "type": "snapshot", "seq": self.seq, "pad": "x" * self.pad}
        return None if channel == "empty" else (self.seq, json.dumps(view).encode())

    def on_message(self, client: Client, text: str) -> None:
        self.heard.append(text)
        client.send_reply(b'{"heard":true}')

    def on_audience(self, channel: str, listeners: int) -> None:
        self.audience[channel] = listeners

    def permissions(self) -> object:
        return None

    def may_hear(self, client: Client, channels: Iterable[str]) -> bool:
        return True


class Reader:
    """The browser's end of a stream."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""
        self.got: list[dict[str, object]] = []

    def pull(self) -> None:
        self.sock.settimeout(0.02)
        with contextlib.suppress(TimeoutError):
            self.data += self.sock.recv(1 << 20)

    def messages(self) -> list[dict[str, object]]:
        """All text messages so far; other frames stay in the data."""
        self.pull()
        while len(self.data) >= 2 and self.data[0] == 0x81:
            size = self.data[1]
            head = {126: 4, 127: 10}.get(size, 2)
            if head > 2:
                size = int.from_bytes(self.data[2:head], "big")
            if head + size > len(self.data):
                break
            self.got.append(json.loads(self.data[head : head + size]))
            self.data = self.data[head + size :]
        return self.got


class Fixture:
    def __init__(self) -> None:
        self.source = Source()
        self.hub = Hub("epoch")
        self.hub.source = self.source
        self.hub.start()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.readers: list[Reader] = []

    def connect(
        self,
        *channels: str,
        kind: Kind = Kind.WEBSOCKET,
        resume: int | None = None,
        settle: bool = True,
    ) -> Reader:
        theirs = socket.create_connection(self.listener.getsockname())
        ours, _ = self.listener.accept()
        reader = Reader(theirs)
        self.readers.append(reader)
        self.hub.adopt(Client(ours, kind, list(channels), resume))
        if settle:
            self.settle()
        return reader

    @contextlib.contextmanager
    def busy_hub(self) -> Iterator[None]:
        """Block the hub's thread: requests to the hub wait meanwhile."""
        held, free = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            free.wait(10)

        self.hub._post(hold)
        assert held.wait(10)
        yield
        free.set()

    def publish(self, channel: str = "book", pad: int = 0) -> int:
        self.source.seq += 1
        view = {"channel": channel, "type": "delta", "seq": self.source.seq, "pad": "y" * pad}
        self.hub.publish(channel, self.source.seq, json.dumps(view).encode())
        self.hub.wake()
        return self.source.seq

    def settle(self) -> None:
        """Wait until the hub's thread is idle, and check its invariants."""
        done: list[bool] = []
        self.hub._post(lambda: done.append(True))
        wait_for("the hub", lambda: bool(done))
        self.hub._post(self.hub.check)

    def close(self) -> None:
        self.hub.stop()
        self.hub.join(2)
        for reader in self.readers:
            reader.sock.close()
        self.listener.close()


@pytest.fixture
def fix() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    fixture.close()


def _seqs(reader: Reader) -> list[object]:
    return [message["seq"] for message in reader.messages()]


def _wait(reader: Reader, wanted: Callable[[list[object]], bool]) -> list[object]:
    return wait_for("the messages", lambda: (s := _seqs(reader)) and wanted(s) and s)


def test_each_client_gets_a_snapshot_and_then_every_delta_of_its_channels(fix: Fixture) -> None:
    first = fix.connect("book")
    fix.publish()
    fix.settle()
    second = fix.connect("book", "mesh")
    fix.publish()
    fix.publish("mesh")
    assert _wait(first, lambda s: 2 in s) == [0, 1, 2]
    assert _wait(second, lambda s: 3 in s) == [1, 1, 2, 3]
    assert fix.source.audience == {"book": 2, "mesh": 1}


def test_frames_that_a_snapshot_covers_are_not_sent_again(fix: Fixture) -> None:
    """The snapshot is taken on the hub's thread, ahead of frames that wait there."""
    with fix.busy_hub():
        reader = fix.connect("book", settle=False)
        fix.source.seq = 5
        for seq in (4, 5, 6, 7):
            fix.hub.publish("book", seq, b'{"seq":%d}' % seq)
        fix.hub.publish("book", 1, b'{"seq":1}', resets=True)
        fix.hub.publish("book", 2, b'{"seq":2}')
    fix.hub.wake()
    assert _wait(reader, lambda s: 2 in s) == [5, 6, 7, 1, 2]
    fix.settle()


def test_a_client_of_several_channels_gets_waiting_frames_in_order(fix: Fixture) -> None:
    both, other = fix.connect("book", "trades"), fix.connect("trades")
    events = fix.connect("trades", "book", kind=Kind.EVENTS)
    with fix.busy_hub():
        sent = [(fix.publish(channel), channel) for channel in ("book", "trades", "mesh", "book")]
    told = _wait(both, lambda s: 4 in s)
    assert told == [0, 0, *(seq for seq, channel in sent if channel != "mesh")]
    assert _wait(other, lambda s: 2 in s) == [0, 2]
    wait_for("the events", lambda: (events.pull(), events.data.count(b"id: ") == 5)[1])
    assert [part[:9] for part in events.data.split(b"id: ")[3:]] == [
        b"epoch-1\ne",
        b"epoch-2\ne",
        b"epoch-4\ne",
    ]
    assert fix.hub.frames_sent == 7


def test_an_overflow_of_the_hub_becomes_a_snapshot(
    fix: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "INBOX_MAX", 5)
    reader = fix.connect("book")
    with fix.busy_hub():
        for _ in range(9):
            fix.publish()
    assert _wait(reader, lambda s: 9 in s) == [0, 1, 2, 3, 4, 5, 9]
    fix.publish()
    assert _wait(reader, lambda s: 10 in s)[-1] == 10
    events = fix.connect("book", kind=Kind.EVENTS, resume=3)
    wait_for("the reset", lambda: (events.pull(), b"event: reset" in events.data)[1])
    fix.settle()


def test_nothing_is_kept_of_an_ended_stream(fix: Fixture) -> None:
    for _ in range(3):
        fix.connect("book", "orders/alice").sock.close()
    wait_for("the end", lambda: fix.hub.client_count == 0)
    fix.settle()
    assert not fix.hub._groups.channels
    assert fix.source.audience == {"book": 0, "orders/alice": 0}


def test_a_client_that_does_not_read_harms_no_other_and_gets_a_snapshot_later(fix: Fixture) -> None:
    slow, quick = fix.connect("book"), fix.connect("book")
    count = 3 * client_module.BACKLOG_BYTES_MAX // 20_000 + 500
    for _ in range(count):
        fix.publish(pad=20_000)
        if fix.source.seq % 10 == 0:
            _wait(quick, lambda s: fix.source.seq in s)
    fix.settle()
    assert fix.hub.dropped_to_snapshot == 1
    held = [client._backlog_bytes for client in fix.hub._clients.values()]
    assert max(held) <= client_module.BACKLOG_BYTES_MAX
    assert _seqs(quick) == list(range(count + 1)), "every single one"
    seen = _wait(slow, lambda s: fix.source.seq in s)
    assert len(seen) < count, "the queue was dropped"
    assert seen[-1] == fix.source.seq
    fix.publish()
    assert _wait(slow, lambda s: fix.source.seq in s)[-2:] == [count, count + 1]


def test_a_large_snapshot_does_not_use_up_the_room_for_what_follows(fix: Fixture) -> None:
    """An account with thousands of open orders: else its client would start again without end."""
    fix.source.pad = 8 * client_module.BACKLOG_BYTES_MAX
    reader = fix.connect("orders/alice")
    for _ in range(20):
        fix.publish("orders/alice")
    wait_for("all", lambda: len(reader.messages()) == 21)
    assert [message["type"] for message in reader.got] == ["snapshot"] + ["delta"] * 20
    assert fix.hub.dropped_to_snapshot == 0


def test_a_client_that_never_reads_is_cut_off(
    fix: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "STALL_SECONDS_MAX", 0.2)
    monkeypatch.setattr(hub_module, "TICK_SECONDS", 0.05)
    fix.connect("book")
    for _ in range(1000):
        fix.publish(pad=20_000)
    wait_for("the cut", lambda: fix.hub.client_count == 0)
    fix.settle()
    assert fix.source.audience["book"] == 0


def test_a_stream_beyond_the_limit_is_refused(fix: Fixture) -> None:
    fix.hub._clients_max = 1
    fix.connect("book")
    refused = fix.connect("book")
    refused.pull()
    assert refused.data[:4] == b"\x88" + refused.data[1:2] + (1013).to_bytes(2, "big")


def test_strangers_leave_streams_to_known_clients(fix: Fixture) -> None:
    fix.hub._clients_max = 4
    for _ in range(STRANGERS_PERCENT * 4 // 100):
        fix.connect("book")
    assert fix.hub.is_full(is_known=False)
    assert not fix.hub.is_full(is_known=True)
    refused = fix.connect("book")
    refused.pull()
    assert refused.data[:4] == b"\x88" + refused.data[1:2] + (1013).to_bytes(2, "big")
    theirs = socket.create_connection(fix.listener.getsockname())
    ours, _ = fix.listener.accept()
    fix.readers.append(Reader(theirs))
    fix.hub.adopt(Client(ours, Kind.WEBSOCKET, ["book"], is_known=True))
    fix.settle()
    assert fix.hub.client_count == 4
    assert fix.hub.is_full(is_known=True)
    fix.hub.check()


def test_events_resume_from_the_ring(fix: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "FRAMES_MAX", 3)
    for _ in range(5):
        fix.publish()
        fix.publish("other")
    fix.settle()
    recent = fix.connect("book", kind=Kind.EVENTS, resume=7)
    old = fix.connect("book", kind=Kind.EVENTS, resume=1)
    for reader in (recent, old):
        wait_for("events", lambda r=reader: (r.pull(), b"data" in r.data)[1])
    assert recent.data.count(b"event: book") == 1
    assert b"id: epoch-9\n" in recent.data
    assert b"event: reset" in old.data
    assert b'"snapshot"' in old.data


def test_a_client_that_missed_too_much_gets_a_snapshot(fix: Fixture) -> None:
    for _ in range(client_module.BACKLOG_BYTES_MAX // 20_000 + 2):
        fix.publish(pad=20_000)
    fix.settle()
    late = fix.connect("book", kind=Kind.EVENTS, resume=1)
    wait_for("the reset", lambda: (late.pull(), b"event: reset" in late.data)[1])


def test_fragmented_messages_pings_and_a_close(fix: Fixture) -> None:
    reader = fix.connect("empty")
    mask = b"\1\2\3\4"

    def send(first: int, payload: bytes) -> None:
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        reader.sock.sendall(bytes((first, 0x80 | len(payload))) + mask + masked)

    send(0x01, b"he")
    send(0x89, b"ping")
    send(0x80, b"llo")
    wait_for("the message", lambda: fix.source.heard == ["hello"])
    wait_for("the reply", lambda: (reader.pull(), b"heard" in reader.data)[1])
    assert reader.data.startswith(b"\x8a\x04ping")
    send(0x88, (1000).to_bytes(2, "big"))
    wait_for("the end", lambda: fix.hub.client_count == 0)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (b"\xc1\x80\0\0\0\0", 1002),  # compressed, which was never agreed to
        (b"\x82\x81\0\0\0\0x", 1003),  # binary
        (b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 70_000, 1009),
        (b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 2_000, 1009),  # nothing, in pieces
    ],
)
def test_protocol_errors_end_the_stream(fix: Fixture, data: bytes, code: int) -> None:
    reader = fix.connect("empty")
    reader.sock.sendall(data)
    wait_for("the end", lambda: fix.hub.client_count == 0)
    reader.pull()
    assert code.to_bytes(2, "big") in reader.data[:4]


def test_the_number_of_answered_pings_is_limited(fix: Fixture) -> None:
    reader = fix.connect("empty")
    reader.sock.sendall(b"\x89\x80\0\0\0\0" * 100)
    wait_for("the end", lambda: fix.hub.client_count == 0)
    reader.pull()
    assert b"\x03\xf0at most 20 pings" in reader.data
    assert reader.data.count(b"\x8a\x00") == 20


def test_a_client_that_does_not_read_answers_is_no_longer_served(
    fix: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "BACKLOG_BYTES_MAX", 1000)
    reader = fix.connect("empty")
    reader.sock.setblocking(False)
    message = b"\x81\x82\0\0\0\0hi"
    sent, idle, until = 0, 0, time.monotonic() + 20
    while idle < 30 and time.monotonic() < until:
        try:
            sent += reader.sock.send(message * 1000)
            idle = 0
        except BlockingIOError:
            idle += 1
            time.sleep(0.01)
    assert idle == 30, "it reads no more"
    assert sent < 64 << 20
    fix.settle()


def test_long_frames_have_long_headers() -> None:
    assert text_frame(b"x" * 125)[:2] == bytes((0x81, 125))
    assert text_frame(b"x" * 126)[:4] == bytes((0x81, 126, 0, 126))
    assert text_frame(b"x" * 65536)[:10] == bytes((0x81, 127)) + (65536).to_bytes(8, "big")
