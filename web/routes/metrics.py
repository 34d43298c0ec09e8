"""What Prometheus is told about this gateway and its peer.

Owns the names. What the gateway does is counted as it happens; everything else is read from the
mirrors when Prometheus asks. Must never change either.
"""

from collections.abc import Iterator
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

from peer.replica.order_state import Outcome
from web.gateway import Gateway

Family = CounterMetricFamily | GaugeMetricFamily
disable_created_metrics()  # type: ignore[no-untyped-call]
FINALITY_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)


class Metrics(Collector):
    """One for a gateway. `ordered` and `answered` may be called from any thread."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.registry = CollectorRegistry(auto_describe=False)
        self._finality = Histogram(
            "orderbook_finality_seconds",
            "Commands of this gateway, from handing them to the node until the final result.",
            buckets=FINALITY_SECONDS,
            registry=self.registry,
        )
        self._rejected = Counter(
            "orderbook_rejected",
            "Commands of this gateway that the market did not take.",
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
        """A command came to its end, so long after it was handed to the node."""
        self._finality.observe(seconds)
        if outcome.reason is not None:
            self._rejected.labels(outcome.reason.name.lower()).inc()

    def answered(self, status: int) -> None:
        self._answers.labels(str(status)).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Family]:
        with self._gateway.mirrors.lock:
            yield from [*self._streams(), *self._node(), *self._markets(), *self._peers()]
        yield from self._journal()

    def _streams(self) -> Iterator[Family]:
        hub = self._gateway.hub
        yield _gauge("web_streams", "Open WebSocket and event streams.", hub.client_count)
        yield _counter("web_frames", "Messages handed to streams.", hub.frames_sent)
        text = "Times a stream did not keep up and was given a fresh snapshot instead."
        yield _counter("web_streams_dropped", text, hub.dropped_to_snapshot)
        yield _gauge("web_node_calls", "Requests the node owes an answer.", self._gateway.link.owed)

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
            yield _gauge("catching_up", "1: it fetches what it missed.", bool(mesh.catching_up))
            yield _counter("rounds", "Newest round.", mesh.round)
            text = "Median of this peer's recent commands, whoever sent them; 0: none yet."
            yield _gauge("finality_median_seconds", text, mesh.finality_ms / 1000)
            yield _gauge("pending_commands", "Taken here, not ordered yet.", mesh.pending)
            text = "How long the one of them has waited that was taken first."
            yield _gauge("pending_age_seconds", text, mesh.oldest_pending_ms / 1000)
            yield _gauge("alarms", "Alarms of this peer.", len(mesh.alarms))
            text = "Connections without a key of this mesh, or that brought too much."
            yield _counter("connections_refused", text, mesh.refused)
            text = "Requests of other peers that found no room to wait."
            yield _counter("requests_unanswered", text, mesh.unanswered)

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
        for name, text, values in (
            ("peer_alive", "1: a member is heard.", [m.alive for m in mesh.members]),
            ("peer_round", "Round of its newest block here.", [m.round for m in mesh.members]),
            ("peer_commit", "What it said it has applied.", [m.commit for m in mesh.members]),
            ("peer_unread", "Messages too many or senseless.", [m.unread for m in mesh.members]),
            ("peer_barred", "1: it is not heard.", [m.barred != "" for m in mesh.members]),
            ("peer_renewed", "Connections to ask it, given up.", [m.renewed for m in mesh.members]),
            ("peer_hears", "Other members it says it hears.", [len(m.hears) for m in mesh.members]),
            ("peer_differs", "1: its book is another.", [m.agrees is False for m in mesh.members]),
            (
                "peer_age_seconds",
                "Since it was last heard; -1: never.",
                [m.age_ms / 1000 if m.age_ms >= 0 else -1 for m in mesh.members],
            ),
        ):
            family = GaugeMetricFamily(f"orderbook_{name}", text, labels=["peer"])
            for member, value in zip(mesh.members, values, strict=True):
                family.add_metric([member.name], value)
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
