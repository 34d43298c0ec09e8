"""What Prometheus is told about this gateway and its peer. Owns the names; reads only."""

from collections.abc import Iterator

from web.gateway import Gateway

Sample = tuple[str, str, str, dict[str, str], float]  # name, kind, help, labels, value


def text(gateway: Gateway) -> str:
    """All samples in Prometheus' text format."""
    lines: list[str] = []
    named: set[str] = set()
    with gateway.mirrors.lock:
        samples = [*_streams(gateway), *_node(gateway), *_markets(gateway), *_peers(gateway)]
    for name, kind, words, labels, value in samples:
        full = f"orderbook_{name}"
        if name not in named:
            named.add(name)
            lines += [f"# HELP {full} {words}", f"# TYPE {full} {kind}"]
        inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        lines.append(f"{full}{{{inside}}} {value:g}" if inside else f"{full} {value:g}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _streams(gateway: Gateway) -> Iterator[Sample]:
    hub = gateway.hub
    yield "web_streams", "gauge", "Open WebSocket and event streams.", {}, hub.client_count
    yield "web_frames_total", "counter", "Messages handed to streams.", {}, hub.frames_sent
    text = "Streams that did not keep up and were given a fresh snapshot."
    yield "web_streams_dropped_total", "counter", text, {}, hub.dropped_to_snapshot


def _node(gateway: Gateway) -> Iterator[Sample]:
    mirrors = gateway.mirrors
    yield "node_live", "gauge", "The node is heard.", {}, mirrors.state == "live"
    yield "commit", "counter", "Newest commit shown here.", {}, mirrors.commit
    mesh = mirrors.mesh
    if mesh is not None:
        yield "quorum", "gauge", "Enough members are alive.", {}, mesh.quorum
        yield "round", "counter", "Newest round.", {}, mesh.round
        yield "pending_commands", "gauge", "Taken here, not ordered yet.", {}, mesh.pending
        text = "Median of recent commands, submit to applied."
        yield "finality_milliseconds", "gauge", text, {}, mesh.finality_ms
        yield "alarms", "gauge", "Alarms of this peer.", {}, len(mesh.alarms)
        text = "Connections without a key of this mesh, or that brought too much."
        yield "connections_refused_total", "counter", text, {}, mesh.refused
        text = "Requests of other peers that found no room to wait."
        yield "requests_unanswered_total", "counter", text, {}, mesh.unanswered


def _markets(gateway: Gateway) -> Iterator[Sample]:
    for symbol, book in gateway.mirrors.books.items():
        labels = {"market": symbol}
        yield "trades_total", "counter", "Trades of a market.", labels, book.candles.last
    for symbol, book in gateway.mirrors.books.items():
        for name, side in (("bids", book.bids), ("asks", book.asks)):
            labels = {"market": symbol, "side": name}
            yield "levels", "gauge", "Price levels known here.", labels, len(side)


def _peers(gateway: Gateway) -> Iterator[Sample]:
    mesh = gateway.mirrors.mesh
    members = mesh.members if mesh else []
    for member in members:
        yield "peer_alive", "gauge", "A member is heard.", {"peer": member.name}, member.alive
    for member in members:
        yield "peer_commit", "gauge", "What a member applied.", {"peer": member.name}, member.commit
    for member in members:
        labels = {"peer": member.name}
        yield "peer_differs", "gauge", "Its digest differs.", labels, member.agrees is False
    for member in members:
        text, labels = "Messages that were too many or made no sense.", {"peer": member.name}
        yield "peer_unread_total", "counter", text, labels, member.unread
    for member in members:
        labels = {"peer": member.name}
        yield "peer_barred", "gauge", "It is not heard, by decision.", labels, member.barred != ""
