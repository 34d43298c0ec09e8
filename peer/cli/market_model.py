"""The model of a living market, for the demo: makers quote around a moving price, takers trade.

Owns what is sent to one market, turn by turn. Pure: the same seed and the same views give the same
commands. Must never read a clock or a socket. Prices are ticks and quantities lots; inside the
model they may be fractions, but what leaves it is whole.

A fair price wanders, and is drawn back to where it began. Each peer has a maker: it rests orders on
both sides, most of them close to the fair price, many at round prices and in round quantities, and
keeps changing them. Takers come in clusters, as each trade attracts more (a Hawkes process): they
buy below the fair price, sell above it, and otherwise mostly do what the last one did.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import NamedTuple

from engine import Cancel, Command, Market, Reduce, Replace, Side, Submit, TimeInForce
from peer.replica.order_state import OrderView, Status

TURN_S = 0.1
COMMANDS_PER_TURN_MAX = 50  # of one maker
START = {"BTC": 67_250, "ETH": 3_480}  # by the symbol's beginning, in the quote's unit
START_OTHERS = 100
TYPICAL = 8_000  # value of an order, in the quote's unit

# The fair price
VOLATILITY = 1e-4  # relative, per square root of a second
REVERSION_S = 1_800.0  # after this time, a third of the distance is left
WANDER_MAX = 0.05  # relative distance from where it began
IMPACT = 4e-5  # relative, of a typical trade

# Makers
MAKERS_SHARE = 0.88  # of all commands
AWAY = 6e-4  # relative distance of half of the orders from the fair price, or
AWAY_TICKS = 6  # this one if it is larger
AWAY_SIGMA = 1.3
NEAREST, FARTHEST = 0.04, 30.0  # where a quote is moved, as parts of AWAY
INSIDE = 0.35  # of quotes, which are near the fair price
FILL = 6  # a maker with less than two thirds of its orders is so much faster
ICEBERGS = 0.04  # of new orders
ICEBERG_SLICES = 5
REDUCES = 0.2  # of changes
ROUND_QUANTITIES = 0.35
ROUND = ((1, 0.2), (10, 0.35), (50, 0.2), (100, 0.25))  # steps of prices, and how many choose each

# Takers
BRANCHING = 0.65  # trades that each trade attracts
MEMORY_S = 2.0  # how long it does
TAKES_PER_TURN_MAX = 3
SLIP = 1e-3  # relative; a taker pays no more than this beyond the best price
SLIP_TICKS = 3
PERSISTENCE = 0.7  # takers that do what the last one did


class View(NamedTuple):
    """What a peer shows: its best prices and the last trade's, 0 if there is none, and the open
    orders of its maker in this market."""

    bid: int
    ask: int
    last: int
    orders: Sequence[OrderView]


def maker(peer: str) -> str:
    """The account of a peer's maker."""
    return f"maker-{peer}"


def taker(peer: str) -> str:
    """The account of a peer's takers, whose orders never rest."""
    return f"taker-{peer}"


class MarketModel:
    """One market through all `peers`: `rate` commands a second, and at most `orders_max` open
    orders. ValueError if a maker could not have one on each side."""

    def __init__(
        self, market: Market, peers: Sequence[str], seed: int, rate: float, orders_max: int
    ) -> None:
        per_side = orders_max // (2 * len(peers))
        if per_side < 1:
            needed = 2 * len(peers)
            raise ValueError(f"{market.symbol} needs {needed} open orders, got {orders_max}")
        name = f"{seed}/{market.symbol}"
        actions = rate * MAKERS_SHARE * TURN_S / len(peers)
        self._units = _Units(market)
        self._fair = _FairPrice(self._units, Random(name))
        self._makers = {
            peer: _Maker(self._units, peer, Random(f"{name}/{peer}"), actions, per_side)
            for peer in peers
        }
        takes = rate * (1 - MAKERS_SHARE) * TURN_S
        self._takers = _Takers(self._units, Random(f"{name}/takers"), takes)

    def turn(self, views: Mapping[str, View]) -> dict[str, list[Command]]:
        """The commands of the next TURN_S, by peer. Peers without a view have none."""
        seen = {peer: views[peer] for peer in self._makers if peer in views}
        if not seen:
            return {}
        fair = self._fair.step(next(iter(seen.values())))
        commands = {peer: self._makers[peer].turn(fair, view) for peer, view in seen.items()}
        for peer, take, push in self._takers.turn(fair, seen):
            commands[peer].append(take)
            self._fair.push(push)
        return commands


class _Units:
    """A market's units and limits."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.tick = float(Decimal(market.tick))
        self.lot = float(Decimal(market.lot))

    def start(self) -> float:
        symbol = self.market.symbol
        known = (price for name, price in START.items() if symbol.startswith(name))
        return next(known, START_OTHERS) / self.tick

    def bounds(self, last: int) -> tuple[int, int]:
        """The lowest and the highest price that the market takes after a trade at `last`."""
        low, high, percent = 1, self.market.price_max, self.market.price_band_percent
        if percent and last:
            low = max(low, -(-last * (100 - percent) // 100))
            high = min(high, last * (100 + percent) // 100)
        return low, high

    def price(self, rng: Random, middle: float, away: float, side: Side) -> int:
        """A whole number of ticks about `away` from `middle`, often a round one."""
        (step,) = rng.choices([step for step, _ in ROUND], [share for _, share in ROUND])
        finest = _power_of_ten(self.away(middle) / 250)
        whole = max(1, round(min(step * finest, _power_of_ten(away))))
        price = middle + (away if side is Side.SELL else -away)
        return round(price / whole) * whole

    def quantity(self, rng: Random, value: float, price: float) -> int:
        """The lots for `value` at `price`, often a round number, within the market's limits."""
        step = self.step(price)
        lots = max(round(value / (price * self.tick * self.lot) / step), 1) * step
        if rng.random() < ROUND_QUANTITIES:
            lots -= lots % int(_power_of_ten(lots))
        return min(max(lots, self.market.quantity_min), self.market.quantity_max)

    def slice_of(self, quantity: int, price: float) -> int:
        """What an iceberg of `quantity` lots shows at a time."""
        slices = min(ICEBERG_SLICES, self.market.iceberg_slices_max)
        step = self.step(price)
        return min(-(-quantity // (slices * step)) * step, quantity)

    def step(self, price: float) -> int:
        """The step of quantities, in lots: a power of ten, about a hundredth of a typical order."""
        return max(1, round(_power_of_ten(TYPICAL / 100 / (price * self.tick * self.lot))))

    def away(self, price: float) -> float:
        """The typical distance of a quote from `price`, in ticks."""
        return max(AWAY * price, AWAY_TICKS)


class _FairPrice:
    """What the market is worth, in ticks."""

    def __init__(self, units: _Units, rng: Random) -> None:
        self._units = units
        self._rng = rng
        self._began = 0.0  # 0: not yet
        self._price = 0.0

    def step(self, view: View) -> float:
        """The price after another turn. It begins where the market is."""
        if not self._began:
            self._began = self._price = self._first(view)
        else:
            back = math.log(self._began / self._price) * TURN_S / REVERSION_S
            self.push(self._rng.gauss(back, VOLATILITY * math.sqrt(TURN_S)))
        return self._price

    def push(self, change: float) -> None:
        """Change the price by a relative amount."""
        low, high = self._began / (1 + WANDER_MAX), self._began * (1 + WANDER_MAX)
        self._price = min(max(self._price * math.exp(change), low), high)

    def _first(self, view: View) -> float:
        if view.last:
            return float(view.last)
        return (view.bid + view.ask) / 2 if view.bid and view.ask else self._units.start()


class _Maker:
    """The orders of one peer's maker. `actions` is their number per turn, `per_side` the most that
    are open."""

    def __init__(
        self, units: _Units, peer: str, rng: Random, actions: float, per_side: int
    ) -> None:
        self._units = units
        self._account = maker(peer)
        self._rng = rng
        self._actions = actions
        self._per_side = per_side
        self._width = rng.uniform(0.7, 1.5)
        self._size = rng.uniform(0.6, 1.6)

    def turn(self, fair: float, view: View) -> list[Command]:
        """What it does in one turn, each order at most once."""
        middle = max(fair, view.bid)
        middle = min(middle, view.ask) if view.ask else middle
        placed = {Side.BUY: 0, Side.SELL: 0}
        known = sorted(view.orders, key=lambda order: order.id)
        for order in known:
            placed[order.side] += 1
        open_ = [order for order in known if order.status is not Status.PENDING]
        wrong = [order for order in open_ if self._is_wrong(order, middle)]
        is_new = len(known) * 3 < 2 * 2 * self._per_side
        commands: list[Command | None] = []
        for _ in range(self._count(FILL if is_new else 1)):
            side = min(placed, key=lambda side: (placed[side], self._rng.random()))
            if wrong:
                order = wrong.pop(self._rng.randrange(len(wrong)))
                open_.remove(order)
                commands.append(self._move(order, middle, view))
            elif placed[side] < self._per_side:
                placed[side] += 1
                commands.append(self._place(side, middle, view))
            elif open_:
                order = open_.pop(self._rng.randrange(len(open_)))
                commands.append(self._change(order, middle, view))
        return [command for command in commands if command is not None]

    def _count(self, faster: int) -> int:
        return min(_poisson(self._rng, self._actions * faster), COMMANDS_PER_TURN_MAX)

    def _is_wrong(self, order: OrderView, middle: float) -> bool:
        """Whether a quote is so near that it would be taken, or too far away to matter."""
        away = (order.price - middle) * (-1 if order.side is Side.BUY else 1)
        return not NEAREST < away / self._units.away(middle) < FARTHEST

    def _price(self, side: Side, middle: float, view: View) -> int | None:
        """A price for a quote that rests; None if there is none."""
        units, rng = self._units, self._rng
        away = rng.lognormvariate(math.log(self._width), AWAY_SIGMA)
        if rng.random() < INSIDE:
            away = rng.uniform(NEAREST, 4 * NEAREST)
        away = min(max(away, NEAREST), FARTHEST * 0.8) * units.away(middle)
        price = units.price(rng, middle, away, side)
        low, high = units.bounds(view.last)
        if side is Side.SELL:
            low = max(low, view.bid + 1)
        elif view.ask:
            high = min(high, view.ask - 1)
        return min(max(price, low), high) if low <= high else None

    def _place(self, side: Side, middle: float, view: View) -> Submit | None:
        price = self._price(side, middle, view)
        if price is None:
            return None
        depth = abs(price - middle) / self._units.away(middle)
        value = self._size * TYPICAL * (0.4 + 0.4 * min(depth, 4)) * _spread(self._rng)
        quantity = self._units.quantity(self._rng, value, middle)
        display = 0
        if self._rng.random() < ICEBERGS:
            display = self._units.slice_of(quantity, middle)
        symbol = self._units.market.symbol
        return Submit(
            0, self._account, symbol, side, quantity, price, post_only=True, display=display
        )

    def _move(self, order: OrderView, middle: float, view: View) -> Command:
        price = self._price(order.side, middle, view)
        if price is None or self._rng.random() < 0.5:
            return Cancel(0, self._account, order.id)
        return Replace(0, self._account, order.id, price)

    def _change(self, order: OrderView, middle: float, view: View) -> Command:
        if self._rng.random() < REDUCES:
            half = order.remaining // 2
            smaller = max(half - half % self._units.step(middle), self._units.market.quantity_min)
            if smaller < order.remaining:
                return Reduce(0, self._account, order.id, smaller)
        return self._move(order, middle, view)


class _Takers:
    """Orders that trade at once. `takes` is their number per turn, on average."""

    def __init__(self, units: _Units, rng: Random, takes: float) -> None:
        self._units = units
        self._rng = rng
        self._base = takes * (1 - BRANCHING)
        self._excited = 0.0
        self._side = Side.BUY

    def turn(self, fair: float, views: Mapping[str, View]) -> list[tuple[str, Submit, float]]:
        """The orders, each with its peer and how it changes the fair price. Those that follow the
        fair price don't change it."""
        self._excited *= math.exp(-TURN_S / MEMORY_S)
        count = min(_poisson(self._rng, self._base + self._excited), TAKES_PER_TURN_MAX)
        self._excited += count * BRANCHING * (1 - math.exp(-TURN_S / MEMORY_S))
        found = []
        for _ in range(count):
            peer = self._rng.choice(list(views))
            view = views[peer]
            if self._rng.random() > PERSISTENCE:
                self._side = Side(1 - self._side)
            is_cheap, is_dear = 0 < view.ask < fair, view.bid > fair
            side = Side.BUY if is_cheap else Side.SELL if is_dear else self._side
            size = 0.35 * _spread(self._rng)
            take = self._take(peer, view, side, size)
            if take is not None:
                push = 0.0 if is_cheap or is_dear else (1 - 2 * side) * IMPACT * min(size, 2)
                found.append((peer, take, push))
        return found

    def _take(self, peer: str, view: View, side: Side, size: float) -> Submit | None:
        best, sign = (view.ask, 1) if side is Side.BUY else (view.bid, -1)
        if not best:
            return None
        low, high = self._units.bounds(view.last)
        price = best + sign * max(round(best * SLIP), SLIP_TICKS)
        return Submit(
            0,
            taker(peer),
            self._units.market.symbol,
            side,
            self._units.quantity(self._rng, size * TYPICAL, best),
            min(max(price, low), high),
            tif=TimeInForce.IOC,
        )


def _spread(rng: Random) -> float:
    """A factor for sizes: most are small, few are large."""
    return min(rng.lognormvariate(0, 0.95), 12.0)


def _power_of_ten(number: float) -> float:
    """The largest power of ten up to `number`."""
    return float(10.0 ** math.floor(math.log10(number)))


def _poisson(rng: Random, mean: float) -> int:
    """A random count with this mean, at most COMMANDS_PER_TURN_MAX. (Knuth's method.)"""
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit and count < COMMANDS_PER_TURN_MAX:
        product *= rng.random()
        count += 1
    return count
