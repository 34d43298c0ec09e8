"""How long a member may leave questions unanswered before this peer reconnects.

Owns when to send a probe, and when to give a connection up. Must never read a clock or touch a
socket.

A connection that a firewall has forgotten takes questions and brings no answers, while the kernel
keeps trying. One behind a proxy does so for ever, and the proxy may even keep it alive. Only an
answer shows that the other end is alive. So a peer without questions sends an empty one, every
PROBE_MS.
"""

PROBE_MS = 5_000  # after the last question
UNANSWERED_MS = 5_000  # then reconnect; each time in a row after twice as long
SUSPECT_MS = 2_000  # the same, after the member was not heard: this connection may be lost too
DOUBLINGS_MAX = 3  # a slow member gets 40 s: less could leave it without an answer for ever


class AnswerTimeout:
    """The timeout for the answers of one member."""

    def __init__(self) -> None:
        self._asked_ms: int | None = None  # the first question since the last answer
        self._last_ms: int | None = None  # the last question
        self._since_ms: int | None = None  # start of the time without answers
        self._doublings = 0
        self._is_suspect = False

    def ask(self, now_ms: int) -> None:
        """A question goes out."""
        self._last_ms = now_ms
        if self._asked_ms is None:
            self._asked_ms = now_ms
        if self._since_ms is None:
            self._since_ms = now_ms

    def answered(self, now_ms: int) -> None:
        """An answer came, to any question. A slow member gets as much time again."""
        waited_ms = 0 if self._asked_ms is None else now_ms - self._asked_ms
        enough = (d for d in range(DOUBLINGS_MAX) if UNANSWERED_MS << d >= 2 * waited_ms)
        self._doublings = next(enough, DOUBLINGS_MAX)
        self._asked_ms = self._since_ms = None
        self._is_suspect = False

    def wants_probe(self, now_ms: int) -> bool:
        return self._last_ms is None or now_ms - self._last_ms >= PROBE_MS

    def is_over(self, now_ms: int) -> bool:
        """Whether to give up the connection."""
        waited_ms = 0 if self._asked_ms is None else now_ms - self._asked_ms
        return waited_ms >= (SUSPECT_MS if self._is_suspect else UNANSWERED_MS << self._doublings)

    def begin_anew(self) -> None:
        """A new connection replaces this one: questions sent over this one get no answer."""
        if self._asked_ms is not None and not self._is_suspect:
            self._doublings = min(self._doublings + 1, DOUBLINGS_MAX)
        self._asked_ms = self._last_ms = None
        self._is_suspect = False

    def forget(self) -> None:
        """The member is silent: no answer is expected, and it is asked at once when it is heard
        again."""
        self._asked_ms = self._last_ms = self._since_ms = None
        self._is_suspect = True

    def unanswered_ms(self, now_ms: int) -> int:
        """How long no question was answered, over any connection; 0 if one was."""
        return 0 if self._since_ms is None else now_ms - self._since_ms
