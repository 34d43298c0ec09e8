"""Bugs of matching, limits and permissions, to be seeded into a copy of the engine."""

# What is wrong: the module, the text as it is, the text as it is not to be.
TRADING_BUGS = {
    "a cancelled order keeps its links, fast path": (
        "fast_path",
        "            found.previous = found.next = found.older = found.newer = None\n",
        "",
    ),
    "an order that leaves keeps its links": (
        "book",
        "        order.previous = order.next = order.older = order.newer = None\n",
        "        order.newer = order.next = None\n",
    ),
    "LIFO queue, fast path": (
        "fast_path",
        "            level.last = order\n",
        "            if back is not None:\n"
        "                back.next = order.previous = None\n"
        "                order.next = level.first\n"
        "                level.first.previous = level.first = order\n"
        "                continue\n"
        "            level.last = order\n",
    ),
    "LIFO queue": (
        "book",
        "        order.previous = back = level.last\n"
        "        id: int = order.id\n"
        "        order.priority = id\n"
        "        if back is None:\n"
        "            level.first = order\n"
        "        else:\n"
        "            back.next = order\n"
        "            ahead = back.priority\n"
        "            if ahead <= level.counted:\n"
        "                book_side.grows(level)\n"
        "            if ahead >= id:\n"
        "                order.priority = ahead + 1\n"
        "        level.last = order\n",
        "        order.previous = None\n"
        "        order.next = front = level.first\n"
        "        if front is None:\n"
        "            level.last = order\n"
        "        else:\n"
        "            front.previous = order\n"
        "        level.first = order\n",
    ),
    "a larger quantity keeps its place": (
        "matching",
        "    book.remove(order)\n    order.price = price",
        "    if price == order.price and quantity > order.remaining and not order.hidden:\n"
        "        order.quantity = order.remaining = quantity\n"
        "        order.level.book_side.grows(order.level)\n"
        "        return [Replaced(order.id, order.owner.name, book.symbol, order.side, price,"
        " quantity)]\n"
        "    book.remove(order)\n    order.price = price",
    ),
    "a partial fill loses its place": (
        "book_side",
        "        if left != hidden:\n",
        "        if left != hidden and hidden:\n",
    ),
    "stale best after a level closes": (
        "book_side",
        "            self.best = self.levels[self.best_key * self.sign]",
        "            pass",
    ),
    "stale best key after a level closes": (
        "book_side",
        "            self.best_key = self.keys.best()\n"
        "            self.best = self.levels[self.best_key * self.sign]",
        "            self.best = self.levels[self.keys.best() * self.sign]",
    ),
    "stale best key of an empty book_side": (
        "book_side",
        "            self.best_key = NO_KEY\n",
        "",
    ),
    "a better level is not the best": ("book_side", "if key < self.best_key:", "if not self.best:"),
    "cancel in mid-queue breaks the list, fast path": (
        "fast_path",
        "                after.previous = before\n",
        "                pass\n",
    ),
    "cancel in mid-queue breaks the list": (
        "book",
        "            after.previous = before\n",
        "            pass\n",
    ),
    "an account's orders lose one in the middle, fast path": (
        "fast_path",
        "                newer.older = older\n",
        "                newer.older = None\n",
    ),
    "a cancelled order stays in the index, fast path": (
        "fast_path",
        "            del orders[id]\n",
        "",
    ),
    "an account keeps what it cancelled": (
        "book",
        "            newer.older = older\n",
        "            pass\n",
    ),
    "the price of the taker": (
        "matching",
        "        price = level.price\n",
        "        price = taker.price or level.price\n",
    ),
    "FOK counts what is shown only": (
        "matching",
        "quantity -= level.shown + level.hidden",
        "quantity -= level.shown",
    ),
    "FOK counts what is hidden twice": (
        "matching",
        "quantity -= level.shown + level.hidden",
        "quantity -= level.shown + 2 * level.hidden",
    ),
    "FOK looks beyond its limit": (
        "matching",
        "if level.key > reach:\n            break",
        "if level.key > reach + 1:\n            break",
    ),
    "FOK counts own orders": (
        "matching",
        "        if taker.terms.self_trade is NONE:\n            quantity",
        "        if True:\n            quantity",
    ),
    "FOK passes by the own order that stops it": (
        "matching",
        "            return slices, True\n",
        "            continue\n",
    ),
    "FOK counts all of an iceberg before the own order": (
        "matching",
        "return slices, True",
        "return whole, True",
    ),
    "self-trade prevention after the fill": (
        "matching",
        "if careful and maker.owner is owner:",
        "if careful and maker.owner is owner and price:",
    ),
    "self-trade prevention by the resting order": (
        "matching",
        "if careful and maker.owner is owner:",
        "if maker.terms.self_trade and maker.owner is owner:",
    ),
    "decrement takes the larger": (
        "matching",
        "        left = quantity - maker.remaining\n",
        "        left = quantity - maker.remaining + maker.hidden\n",
    ),
    "cancel both leaves the taker": (
        "matching",
        "    if mode is CANCEL_BOTH:\n        events.append(book.cancel(maker))\n",
        "    if mode is CANCEL_BOTH:\n        events.append(book.cancel(maker))\n"
        "        return quantity\n",
    ),
    "IOC rests": (
        "validation",
        "and tif is not IOC and tif is not FOK",
        "and tif is not FOK",
    ),
    "a market order ignores the band": (
        "matching",
        "price = book.price_low if order.side else book.price_high",
        "price = 1 if order.side else book.market.price_max",
    ),
    "post-only may touch": (
        "pre_trade_checks",
        "best_key <= (-price if side else price)",
        "best_key < (-price if side else price)",
    ),
    "an order at the best price does not trade, fast path": (
        "fast_path",
        "crosses = asks.best_key <= ticks",
        "crosses = asks.best_key < ticks",
    ),
    "an iceberg's next slice keeps its place": (
        "book_side",
        "        level.to_back(order)\n",
        "",
    ),
    "an iceberg's next slice cuts the queue off": (
        "book_side",
        "        self.last = order\n",
        "",
    ),
    "an iceberg shows all after its first slice": (
        "book_side",
        "order.hidden = max(0, hidden - order.terms.display)",
        "order.hidden = 0",
    ),
    "an iceberg shows more when reduced": (
        "book",
        "hidden = max(0, remaining - shown)",
        "hidden = min(order.hidden, remaining - 1)",
    ),
    "a replaced iceberg shows what it showed": (
        "matching",
        "order.hidden = max(0, left - asked.display) if asked.display else 0",
        "order.hidden = min(left - 1, order.hidden) if asked.display else 0",
    ),
    "a reduce may grow an order": (
        "pre_trade_checks",
        "if reason is None and quantity >= order.remaining:",
        "if reason is None and quantity == order.remaining:",
    ),
    "a stop waits for more than its price": (
        "matching",
        "buys.best_key <= last or",
        "buys.best_key < last or",
    ),
    "one wave of stops only": (
        "matching",
        "while last and (buys.best_key",
        "if last and (buys.best_key",
    ),
    "stops are released newest first": (
        "matching",
        "        for order in wave:\n            asked",
        "        for order in reversed(wave):\n            asked",
    ),
    "a released stop still waits": (
        "matching",
        "        for order in wave:\n            book.remove(order)\n",
        "        for order in wave[:1]:\n            book.remove(order)\n",
    ),
    "a stop is released before the rest of its trigger is in the book": (
        "matching",
        "        book.rest(order)\n    else:",
        "        _trigger(book, events)\n        book.rest(order)\n    else:",
    ),
    "a released stop keeps its stop price": (
        "matching",
        "type=released, stop_price=0",
        "type=released",
    ),
    "the last trade is forgotten": ("book", "        self.last = price\n", ""),
    "the band does not follow": (
        "book",
        "        if self.market.price_band_percent:",
        "        if not self.last:",
    ),
    "the band is one tick wider": (
        "validation",
        "min(market.price_max, reference + reach)",
        "min(market.price_max, reference + reach + 1)",
    ),
    "no band in the fast path": (
        "fast_path",
        "or ticks > book.fast_high",
        "or ticks > 140",
    ),
    "no halt in the fast path": ("book", "0 if self.halted else min", "min"),
    "the fast path is not told of a halt": (
        "book",
        "        self.halted = halted\n        self._set_fast_range()\n",
        "        self.halted = halted\n",
    ),
    "the fast path is not told of a new band": (
        "book",
        "validation.band(price, self.market)\n            self._set_fast_range()\n",
        "validation.band(price, self.market)\n",
    ),
    "the fast path is not told what is restored": (
        "book",
        "        self.set_halted(status is not MarketStatus.OPEN)\n",
        "        self.halted = status is not MarketStatus.OPEN\n",
    ),
    "no limit of the account in the fast path": (
        "fast_path",
        "                or owner.open >= account_max\n",
        "",
    ),
    "no limit of the book in the fast path": (
        "fast_path",
        "                or book.open >= orders_max\n",
        "",
    ),
    "one order too many": (
        "pre_trade_checks",
        "if book.open >= book.orders_max:",
        "if book.open > book.orders_max:",
    ),
    "no minimum in the fast path": (
        "fast_path",
        "or lots < quantity_min",
        "or lots < 1",
    ),
    "an id may be open twice": ("fast_path", "                or id in own\n", ""),
    "an order is kept where others are looked for, fast path": (
        "fast_path",
        "            if number < start or number >= end:",
        "            if number < start:",
    ),
    "a halted market replaces": (
        "pre_trade_checks",
        "    if book.halted:\n        return Reason.MARKET_HALTED\n    if command.quan",
        "    if command.quan",
    ),
    "anybody may replace": (
        "pre_trade_checks",
        "    if order.owner.name != command.account:\n        return Reason.NOT_OWNER\n",
        "",
    ),
    "anybody may cancel": (
        "fast_path",
        "            if owner.name != command.account:",
        "            if not owner.name:",
    ),
}
