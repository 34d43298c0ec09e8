"""How a process is told to end: by a signal, or by the end of the process that started it.

Owns the signals that mean it, and the watch over standard input: a pipe of which the starter alone
holds the other end. The kernel closes it with the starter, after `kill -9` too, and even if this
process has not begun to watch. (Asking for the parent's pid fails then: it is another's already
when it is first read.) Must never use what may come through the pipe.
"""

import contextlib
import logging
import os
import signal
import stat
import threading
from collections.abc import Callable

PATIENCE_S = 30.0
STDIN = 0

_log = logging.getLogger(__name__)


def on_end(stop: Callable[[], None]) -> None:
    """Call `stop` when the process is asked to end, or its terminal closes. Main thread only."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda *_: stop())


def hold() -> None:
    """From now on this process gets SIGTERM once its starter is gone, and is ended by force
    PATIENCE_S later. ValueError if standard input is no pipe."""
    mode = os.fstat(STDIN).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        raise ValueError("--exit-with-parent needs a pipe as its standard input")
    threading.Thread(target=_await_end, name="lifeline", daemon=True).start()


def _await_end() -> None:
    with contextlib.suppress(OSError):
        while os.read(STDIN, 4_096):
            pass
    force = threading.Timer(PATIENCE_S, os._exit, (1,))
    force.daemon = True
    force.start()
    _log.warning("the process that started this one is gone: stopping")
    os.kill(os.getpid(), signal.SIGTERM)
