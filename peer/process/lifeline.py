"""The end of a process: by a signal, or when the process that started it ends.

Owns the handlers of these signals, and the thread that watches standard input: a pipe whose other
end only the starter holds. The kernel closes the pipe when the starter ends, even by `kill -9`, and
even before this process begins to watch. (To compare the parent's pid would fail then: the pid may
be another's when it is first read.) Must never use data from the pipe.
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
    """Call `stop` on SIGTERM, Ctrl-C, or when the terminal closes. Main thread only."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda *_: stop())


def hold() -> None:
    """From now on this process gets SIGTERM when its starter ends, and is killed PATIENCE_S later.
    ValueError if standard input is no pipe."""
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
    _log.warning("the process that started this one has ended: stopping")
    os.kill(os.getpid(), signal.SIGTERM)
