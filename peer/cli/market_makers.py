"""`python -m peer market`: makers and takers at the peers of the demo, `make market`.

Owns the connections: one to each peer on this machine, over which that peer's makers follow their
market and send one request at a time. What they send is up to `market_model`. Must never send to a
peer that is not ready, nor leave an order behind in the end if a peer is ready to cancel it.
"""

import contextlib
import fcntl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from engine import CancelAll, Cancelled, Command, Market, Reason, Rejected, Submit
from peer.cli import pid_file
from peer.cli.market_model import TURN_S, MarketModel, View, maker, taker
from peer.client.accounts import AccountMirror
from peer.client.connection import ClientError, Closing, Feed, NodeClient, NodeRefusedError
from peer.client.endpoint import endpoint
from peer.client.levels import SideMirror
from peer.client.protocol import (
    AccountUpdate,
    Answer,
    Done,
    Execute,
    MarketUpdate,
    Mesh,
    Orders,
    PendingUpdate,
    Refused,
    State,
    Streamed,
    topic,
)
from peer.membership import mesh_file
from peer.process.lifeline import on_end

OPEN_ORDERS_MAX = 400  # in all markets, of all makers
RATE_MAX = 200
START_S = 15.0  # how long it waits for the peers
TOGETHER_S = 2.0  # how long it waits for the others when one is there
SILENCE_S = 3.0  # a peer says twice a second how it is
ANSWER_S = 5.0  # then a request is given up: the peer may have restarted
BACK_OFF_S = 5.0  # after a refusal
CLEAR_S = 10.0  # then it asks no other peer to cancel its orders

_CLOSED = {Reason.MARKET_HALTED, Reason.BOOK_FULL, Reason.TOO_MANY_ORDERS}


class _Followed:
    """One market as its peer shows it."""

    def __init__(self) -> None:
        self.bids, self.asks = SideMirror(-1), SideMirror(1)
        self.last = 0
        self.closed_until_s = 0.0

    def take(self, message: State | MarketUpdate) -> None:
        for side, levels in ((self.bids, message.bids), (self.asks, message.asks)):
            if isinstance(message, State):
                side.reset(levels, [])
            else:
                side.apply(levels, [])
                side.take_changes()
        if message.trades:  # in a State the newest is first, in an update the oldest
            self.last = message.trades[0 if isinstance(message, State) else -1].price

    @property
    def is_short(self) -> bool:
        return self.bids.is_short or self.asks.is_short


class Desk(Closing):
    """The maker and the takers of one peer."""

    def __init__(self, name: str, data: Path, symbols: Sequence[str]) -> None:
        self.name = name
        self.client = NodeClient(endpoint(data), ANSWER_S)
        self.markets = {symbol: _Followed() for symbol in symbols}
        self._orders = AccountMirror(maker(name))
        self._feed = self._subscribe()
        self._mesh: Mesh | None = None
        self._heard_s = self._resting_until_s = self._asked_s = 0.0
        self._request: bytes | None = None
        self._left: list[Command] = []  # of the request, without a result so far
        self._was_short = False

    def _subscribe(self) -> Feed:
        topics = [topic("market", symbol) for symbol in self.markets]
        return self.client.feed(*topics, topic("account", maker(self.name)), topic("mesh"))

    def close(self) -> None:
        self.client.close()

    def unready(self, now_s: float) -> str:
        """Why an order sent now would not be ordered soon; empty if it would."""
        if self._mesh is None or now_s - self._heard_s > SILENCE_S:
            return "It does not answer."
        return self._mesh.unready[0].text if self._mesh.unready else ""

    def is_ready(self, now_s: float) -> bool:
        return not self.unready(now_s)

    def is_free(self, now_s: float) -> bool:
        """Whether to send the next request."""
        is_busy = self._request is not None and now_s - self._asked_s < ANSWER_S
        return self.is_ready(now_s) and not is_busy and now_s >= self._resting_until_s

    def view(self, symbol: str, now_s: float) -> View | None:
        """A market as it is now; None while it takes no orders."""
        market = self.markets[symbol]
        if now_s < market.closed_until_s:
            return None
        bid, ask = (next(iter(side.levels(1)), (0,)) for side in (market.bids, market.asks))
        orders = [order for order in self._orders.open.values() if order.market == symbol]
        return View(bid[0], ask[0], market.last, orders)

    def send(self, commands: list[Command], now_s: float) -> None:
        self._request, self._asked_s = self.client.send(Execute(list(commands))), now_s
        self._left = commands

    def read(self, now_s: float) -> None:
        """Take all that has come."""
        for message in self._messages(now_s):
            self._take(message, now_s)
        while (answer := self.client.receive(0)) is not None:
            if answer[0] == self._request:
                self._answer(answer[1], now_s)
        is_short = any(market.is_short for market in self.markets.values())
        if is_short and not self._was_short:
            self._feed.begin_again()
        self._was_short = is_short

    def _messages(self, now_s: float) -> list[Streamed]:
        if now_s < self._resting_until_s and self._mesh is None:
            return []
        try:
            return self._feed.batch(0)
        except NodeRefusedError:
            self._feed, self._mesh = self._subscribe(), None
            self._resting_until_s = now_s + BACK_OFF_S
            return []

    def _take(self, message: Streamed, now_s: float) -> None:
        match message:
            case State() | MarketUpdate():
                self.markets[message.market].take(message)
            case Orders() | PendingUpdate() | AccountUpdate():
                self._orders.take(message)
            case Mesh():
                self._mesh, self._heard_s = message, now_s

    def _answer(self, answer: Answer, now_s: float) -> None:
        match answer:
            case Refused():
                self._request, self._resting_until_s = None, now_s + BACK_OFF_S
            case Done(results=results):
                for command, result in zip(self._left, results, strict=False):
                    first = result.events[0] if result.events else None
                    if isinstance(first, Rejected) and first.reason in _CLOSED:
                        self._rest(command, now_s)
                self._left = self._left[len(results) :]
                if not self._left:
                    self._request = None

    def _rest(self, command: Command, now_s: float) -> None:
        """Leave a market alone that takes no orders now."""
        if isinstance(command, Submit):
            self.markets[command.market].closed_until_s = now_s + BACK_OFF_S


class Floor(Closing):
    """The desks at all peers, and a model of each market."""

    def __init__(
        self, peers: dict[str, Path], markets: Sequence[Market], seed: int, rate: float
    ) -> None:
        """`peers` are the data folders by name. ValueError if there are too many markets."""
        share, orders = rate / len(markets), OPEN_ORDERS_MAX // len(markets)
        self._models = {
            market.symbol: MarketModel(market, list(peers), seed, share, orders)
            for market in markets
        }
        self._desks = [Desk(name, data, list(self._models)) for name, data in peers.items()]

    def close(self) -> None:
        for desk in self._desks:
            desk.close()

    def wait(self, stopping: Callable[[], bool]) -> None:
        """Wait until all peers are ready, or some are and the others do not come. ClickException
        if none is in time."""
        deadline_s = time.monotonic() + START_S
        while not stopping():
            now_s = time.monotonic()
            why = {desk.name: desk.unready(now_s) for desk in self._read(now_s)}
            if not all(why.values()):
                deadline_s = min(deadline_s, now_s + TOGETHER_S)
            if not any(why.values()) or (now_s > deadline_s and not all(why.values())):
                return
            if now_s > deadline_s:
                said = ", ".join(f"{name}: {text}" for name, text in why.items())
                raise click.ClickException(f"no peer is ready. {said} `make peers` starts them.")
            time.sleep(TURN_S)

    def run(self, stopping: Callable[[], bool], say: Callable[[str], None] = click.echo) -> None:
        """Trade until `stopping`. Peers that are not ready have no part in it meanwhile."""
        away: dict[str, str] = {}
        due_s = time.monotonic()
        while not stopping():
            now_s = time.monotonic()
            self._turn(now_s)
            why = {desk.name: desk.unready(now_s) for desk in self._desks}
            for name, text in why.items():
                if bool(text) != bool(away.get(name)):
                    say(f"market: {name} waits. {text}" if text else f"market: {name} trades again")
            away = why
            due_s = max(due_s + TURN_S, now_s)  # turns that a busy machine missed are not made up
            time.sleep(max(due_s - time.monotonic(), 0))

    def _read(self, now_s: float) -> Sequence[Desk]:
        for desk in self._desks:
            desk.read(now_s)
        return self._desks

    def _turn(self, now_s: float) -> None:
        free = [desk for desk in self._read(now_s) if desk.is_free(now_s)]
        commands: dict[str, list[Command]] = {desk.name: [] for desk in free}
        for symbol, model in self._models.items():
            views = {desk.name: desk.view(symbol, now_s) for desk in free}
            shown = {name: view for name, view in views.items() if view is not None}
            for name, some in model.turn(shown).items():
                commands[name] += some
        for desk in free:
            if commands[desk.name]:
                desk.send(commands[desk.name], now_s)

    def clear(self) -> tuple[int, bool]:
        """Cancel all orders, through every peer that is ready: what a peer has not ordered yet must
        come first. Returns how many were cancelled, and whether a peer has done so."""
        names = [desk.name for desk in self._desks]
        every = [CancelAll(0, account(name)) for name in names for account in (maker, taker)]
        cancelled, is_done = 0, False
        now_s = time.monotonic()
        for desk in self._read(now_s):
            if not desk.is_ready(now_s) or time.monotonic() > now_s + CLEAR_S:
                continue
            with contextlib.suppress(ClientError):
                results = desk.client.execute(every)
                events = [event for result in results for event in result.events]
                cancelled += sum(isinstance(event, Cancelled) for event in events)
                is_done = True
        return cancelled, is_done


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of the demo's market. ClickException if another process does."""
    with (folder / "market.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(f"another market trades in {folder} already") from None
        yield


def _chosen(markets: Sequence[Market], wanted: Sequence[str]) -> list[Market]:
    """The wanted markets; without any, all of them. ClickException."""
    known = [market.symbol for market in markets]
    for symbol in wanted:
        if symbol not in known:
            text = f"no market {symbol!r:.40} in this mesh: there is {', '.join(known)}"
            raise click.ClickException(text)
    return [market for market in markets if market.symbol in (wanted or known)]


def _open(folder: Path, wanted: Sequence[str], seed: int, rate: int) -> tuple[Floor, str]:
    """The floor of a demo, and what it does in one sentence. ClickException."""
    try:
        config = mesh_file.load(folder / "mesh.toml")
    except mesh_file.ConfigError as error:
        raise click.ClickException(f"{error}: start the demo first, with `make peers`") from None
    markets = _chosen(config.markets, wanted)
    names = [member.name for member in config.members]
    peers = {name: folder / name for name in names if (folder / name).is_dir()}
    if not peers:
        raise click.ClickException(f"no peer of {folder / 'mesh.toml'} has a folder in {folder}")
    symbols = ", ".join(market.symbol for market in markets)
    said = f"makers and takers trade {symbols} through {', '.join(peers)}, {rate} commands a second"
    try:
        return Floor(peers, markets, seed, rate), said
    except ValueError as error:
        raise click.ClickException(f"{error}: choose some with --market") from None


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(".demo"), help="The demo's folder."
)
@click.option("--market", "wanted", multiple=True, help="Only in this market. Repeatable.")
@click.option(
    "--rate",
    type=click.IntRange(1, RATE_MAX),
    default=30,
    help="Orders, changes and cancels a second.",
)
@click.option("--seed", default=1, help="Of the model.")
@click.option(
    "--state", type=click.Path(path_type=Path), default=Path(".run"), help="Folder of the pid file."
)
def main(folder: Path, wanted: tuple[str, ...], rate: int, seed: int, state: Path) -> None:
    """Trade at the demo's peers until Ctrl-C: makers quote around a moving price, takers trade."""
    stopping = threading.Event()
    on_end(stopping.set)
    floor, said = _open(folder, wanted, seed, rate)
    with floor, _alone(folder), pid_file.recorded(state, "market"):
        floor.wait(stopping.is_set)
        if stopping.is_set():
            return
        click.echo(f"market: {said}. Ctrl-C cancels their orders and stops.")
        try:
            floor.run(stopping.is_set)
        finally:
            cancelled, is_done = floor.clear()
    if not is_done:
        raise click.ClickException(
            "no peer is ready: the orders stay. The next `make market` goes on with them"
        )
    click.echo(f"market: stopped; {cancelled} orders cancelled")
