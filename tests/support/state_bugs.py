"""Bugs of time, totals, digests, pieces and restoring, to be seeded into a copy of the engine."""

# What is wrong: the module, the text as it is, the text as it is not to be.
STATE_BUGS = {
    "expiry a millisecond late": (
        "exchange",
        "ledger.expiries[0][0] <= time_ms",
        "ledger.expiries[0][0] < time_ms",
    ),
    "a cancelled order expires": (
        "book",
        "            self.ledger.expiries.remove((order.terms.expire_ms, order.id))",
        "            pass",
    ),
    "the clock goes back": ("exchange", "if time_ms > ledger.time_ms:", "if time_ms:"),
    "cancel all of both sides": (
        "exchange",
        "if command.side is None or order.side is command.side",
        "if True",
    ),
    "cancel all in any order": (
        "exchange",
        "sorted(found, key=lambda order: order.id)",
        "sorted(found, key=lambda order: -order.id)",
    ),
    "an arrival is not marked, fast path": (
        "fast_path",
        "                book_side.grows(level)\n",
        "                pass\n",
    ),
    "an arrival is not marked": (
        "book",
        "            book_side.grows(level)\n",
        "            pass\n",
    ),
    "a total is not changed by a cancel, fast path": (
        "fast_path",
        "                level.book_side.leaves(level, found)\n",
        "                pass\n",
    ),
    "a total is not changed by an order that leaves": (
        "book",
        "        level.book_side.leaves(level, order)\n",
        "",
    ),
    "a total is not changed by a partial fill": (
        "book_side",
        "            self.changes(level, order, -quantity, 0)\n",
        "",
    ),
    "a total is not changed by a slice that is used up": (
        "book_side",
        "        self.leaves(level, order)\n        order.remaining = left\n",
        "        order.remaining = left\n",
    ),
    "a total is not changed by a reduce": (
        "book",
        "            level.book_side.changes(level, order, more, hidden - order.hidden)\n",
        "            level.book_side.changes(level, order, 0, 0)\n",
    ),
    "an arrival is counted twice": (
        "book_side",
        "        if order.priority == level.counted:\n",
        "        if False:\n",
    ),
    "a share is not changed by a partial fill": (
        "book_side",
        "        level.share(order.id, shown, 0)\n",
        "",
    ),
    "a share is not changed by an order that leaves": (
        "book_side",
        "            level.share(order.id, -shown, -1)\n",
        "            pass\n",
    ),
    "a share is not changed by an arrival": (
        "book_side",
        "                self.share(order.id, shown, 1)\n",
        "                pass\n",
    ),
    "a total is shown as it was": (
        "book_side",
        "            self.changed |= touched\n",
        "",
    ),
    "an iceberg is refreshed without a new priority": (
        "book_side",
        "        order.priority = back.priority + 1  # type: ignore[union-attr]\n",
        "",
    ),
    "a priority is that of the order in front": (
        "book",
        "                order.priority = ahead + 1\n",
        "                order.priority = ahead\n",
    ),
    "a priority is that of the order in front, fast path": (
        "fast_path",
        "                    order.priority = ahead + 1\n",
        "                    order.priority = ahead\n",
    ),
    "a digest is kept after an arrival": (
        "book_side",
        "                stale.add(order.id)\n",
        "                pass\n",
    ),
    "a digest is kept after a change": (
        "book_side",
        "            self.stale.add(order.id)\n",
        "            pass\n",
    ),
    "a digest is kept after the last order of a piece left": (
        "pieces",
        '                leaves[key] = b""\n',
        "",
    ),
    "a piece keeps an order that left": (
        "rows",
        "        old, row_end = 2, numbers[count + at]\n",
        "        old, row_end = 2, 0\n",
    ),
    "a piece keeps one of many orders that left": (
        "rows",
        "            rest += lengths[at]\n",
        "            pass\n",
    ),
    "an order is in the piece of other members": (
        "rows",
        "(id >> _GROUP_SHIFT & _GROUP_LAST) << _GROUP_AT",
        "0",
    ),
    "the digest knows no hidden part": (
        "rows",
        "        order.hidden,\n        order.priority",
        "        order.remaining,\n        order.priority",
    ),
    "the digest knows no halt": ("pieces", "(book.status, book.last)", "(0, book.last)"),
    "the digest knows no last trade": ("pieces", "(book.status, book.last)", "(book.status, 0)"),
    "the digest knows no clock": (
        "pieces",
        "self.ledger.time_ms, self._heads()",
        "0, self._heads()",
    ),
    "the digest knows no queue": (
        "rows",
        "        order.priority - order.id,\n",
        "        0,\n",
    ),
    "a frozen piece shows a later change": (
        "pieces",
        "not one.keep(key, before)",
        "False",
    ),
    "orders that changed are forgotten before their rows are read": (
        "pieces",
        "        for id in sorted(self.stale):\n",
        "        for id in sorted(self.stale)[:3]:\n",
    ),
    "a frozen piece shows the last but one change": (
        "pieces",
        "        if key in self._before:\n            return False\n",
        "",
    ),
    "restoring forgets the halt": (
        "restore",
        "book.restore(saved.status, saved.last)",
        "book.restore(MarketStatus.OPEN, saved.last)",
    ),
    "restoring forgets the last trade": (
        "restore",
        "book.restore(saved.status, saved.last)",
        "book.restore(saved.status, 0)",
    ),
    "restoring puts queues in the order of ids": (
        "restore",
        "    queue = sorted(level, key=lambda order: order.priority)\n",
        "    queue = list(level)\n",
    ),
    "restoring leaves the shares of a long queue out": (
        "restore",
        "                found.large.append(level)\n",
        "                pass\n",
    ),
    "restoring adds up what is shown as hidden": (
        "restore",
        "            level.shown += left - hidden\n",
        "            level.shown += left\n",
    ),
    "restoring forgets expiries": (
        "restore",
        "    ledger.expiries.update(",
        "    list(",
    ),
}
