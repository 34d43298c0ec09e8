"""The metrics of this gateway and its peer, for Prometheus.

Owns the names. It counts what the gateway does as it happens, and reads everything else from the
mirrors when Prometheus asks. Must never change either.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from peer.client.protocol import MemberView
from peer.replica.order_state import Outcome
from web.gateway import Gateway

Family = CounterMetricFamily | GaugeMetricFamily
disable_created_metrics()  # type: ignore[no-untyped-call]
FINALITY_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)
MEMBER_GAUGES: tuple[tuple[str, str, Callable[[MemberView], float]], ...] = (
    ("alive", "1: this peer hears the member.", lambda m: m.alive),
    ("round", "Round of the member's newest block here.", lambda m: m.round),
    ("commit", "Newest commit that the member has announced.", lambda m: m.commit),
    ("unread", "Messages that were not read: too many, or invalid.", lambda m: m.unread),
    ("barred", "1: this peer ignores the member.", lambda m: m.barred != ""),
    ("renewed", "Connections for requests that were given up.", lambda m: m.renewed),
    ("level", "Highest level of rules that the member's program knows.", lambda m: m.level),
    ("hears", "Number of members that the member hears.", lambda m: len(m.hears)),
    ("differs", "1: the member's book differs.", lambda m: m.agrees is False),
    (
        "age_seconds",
        "Since last heard; -1: never.",
        lambda m: m.age_ms / 1000 if m.age_ms >= 0 else -1,
    ),
)


class Metrics(Collector):
    """The metrics of one gateway. Any thread may call `ordered` and `answered`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.registry = CollectorRegistry(auto_describe=False)
        self._finality = Histogram(
            "orderbook_finality_seconds",
            "Time from sending a command to the node until its final result.",
            buckets=FINALITY_SECONDS,
            registry=self.registry,
        )
        self._rejected = Counter(
            "orderbook_rejected",
            "Commands of this gateway that the market rejected.",
            ["reason"],
            registry=self.registry,
        )
        self._answers = Counter(
            "orderbook_web_answers",
            "Answers to requests, by status: 429 too many, 503 not now, 504 unknown.",
            ["status"],
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def ordered(self, outcome: Outcome, seconds: float) -> None:
        """Count a command's outcome, which came `seconds` after it was sent to the node."""
        self._finality.observe(seconds)
        if outcome.reason is not None:
            self._rejected.labels(outcome.reason.name.lower()).inc()

    def answered(self, status: int) -> None:
        self._answers.labels(str(status)).inc()

    def text(self) -> bytes:
        """All metrics, in the text format of Prometheus."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Family]:
        with self._gateway.mirrors.lock:
            yield from [*self._streams(), *self._node(), *self._markets(), *self._peers()]
        yield from self._journal()

    def _streams(self) -> Iterator[Family]:
        hub = self._gateway.hub
        yield _gauge("web_streams", "Open WebSocket and event streams.", hub.client_count)
        yield _counter("web_frames", "Messages handed to streams.", hub.frames_sent)
        text = "Times a stream fell behind and got a new snapshot."
        yield _counter("web_streams_dropped", text, hub.dropped_to_snapshot)
        yield _gauge("web_node_calls", "Requests that wait for the node.", self._gateway.link.owed)

    def _node(self) -> Iterator[Family]:
        mirrors = self._gateway.mirrors
        ready = not self._gateway.unready()
        yield _gauge("ready", "1: an order sent now would be ordered. /readyz says why not.", ready)
        yield _gauge("node_live", "1: the node is heard.", mirrors.state == "live")
        yield _counter("commits", "Newest commit shown here.", mirrors.commit)
        mesh = mirrors.mesh
        if mesh is not None:
            yield _gauge("quorum", "1: enough members are alive.", mesh.quorum)
            yield _gauge("quorum_size", "Members that make a quorum.", mesh.quorum_size)
            yield _gauge("halted", "1: this peer has stopped for good.", bool(mesh.halted))
            yield _gauge("catching_up", "1: this peer is catching up.", bool(mesh.catching_up))
            yield _counter("rounds", "Newest round.", mesh.round)
            text = "Median for recent commands at this peer, from any client; 0: none yet."
            yield _gauge("finality_median_seconds", text, mesh.finality_ms / 1000)
            yield _gauge("pending_commands", "Taken here, not ordered yet.", mesh.pending)
            text = "How long the oldest pending command has waited."
            yield _gauge("pending_age_seconds", text, mesh.oldest_pending_ms / 1000)
            yield _gauge("alarms", "Alarms of this peer.", len(mesh.alarms))
            text = "Connections without a key of this mesh, or over a limit."
            yield _counter("connections_refused", text, mesh.refused)
            text = "Requests of other peers that were dropped because too many waited."
            yield _counter("requests_unanswered", text, mesh.unanswered)
            yield _gauge("member", "1: a member. 0: a follower.", mesh.role == "member")
            yield _gauge("level", "Level of the rules that hold now.", mesh.level)
            text = "Version of this peer's program, and the highest level of rules that it knows."
            program = GaugeMetricFamily("orderbook_program", text, labels=["version", "level"])
            program.add_metric([mesh.version, str(mesh.level_known)], 1)
            yield program

    def _markets(self) -> Iterator[Family]:
        trades = CounterMetricFamily("orderbook_trades", "Trades of a market.", labels=["market"])
        levels = GaugeMetricFamily(
            "orderbook_levels", "Price levels known here.", labels=["market", "side"]
        )
        for symbol, book in self._gateway.mirrors.books.items():
            trades.add_metric([symbol], book.candles.last)
            levels.add_metric([symbol, "bids"], len(book.bids))
            levels.add_metric([symbol, "asks"], len(book.asks))
        yield from (trades, levels)

    def _peers(self) -> Iterator[Family]:
        mesh = self._gateway.mirrors.mesh
        if mesh is None:
            return
        for name, text, value in MEMBER_GAUGES:
            family = GaugeMetricFamily(f"orderbook_peer_{name}", text, labels=["peer"])
            for member in mesh.members:
                family.add_metric([member.name], value(member))
            yield family

    def _journal(self) -> Iterator[Family]:
        path = self._gateway.config.history
        if path:
            size = 0
            for part in (path, f"{path}-wal"):
                with suppress(FileNotFoundError):
                    size += Path(part).stat().st_size
            yield _gauge("journal_bytes", "Size of the node's journal.", size)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"orderbook_{name}", text, float(value))


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"orderbook_{name}", text, float(value))
