"""The web gateway as a process beside its node.

Owns its life: if the gateway ends, it is started again, at first soon, then after longer and longer
waits until one lasts. Must never know its options: `web.options` makes its command line.
"""

import logging
import subprocess
import time
from collections.abc import Sequence

RESTART_S = 2.0
RESTART_S_MAX = 60.0  # between starts; a gateway that lasts longer resets the wait
STOP_S = 5.0

_log = logging.getLogger(__name__)


class GatewayProcess:
    """The constructor starts the gateway; then call `watch` now and then."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._wait_s = RESTART_S
        self._due_s = self._started_s = time.monotonic()
        self.watch()

    def watch(self) -> None:
        """Start the gateway again if it has ended and the wait is over."""
        now_s = time.monotonic()
        if self._process is not None and (status := self._process.poll()) is not None:
            self._drop()
            if now_s - self._started_s > RESTART_S_MAX:
                self._wait_s = RESTART_S
            self._retry(f"the web gateway ended with status {status}", now_s)
        if self._process is None and now_s >= self._due_s:
            self._start(now_s)

    def _start(self, now_s: float) -> None:
        self._started_s = now_s
        try:
            # The gateway gets a session of its own: a signal from the terminal reaches only the
            # peer, which then ends the gateway. If the peer dies, standard input tells it.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            self._retry(f"the web gateway cannot be started ({error})", now_s)

    def _retry(self, why: str, now_s: float) -> None:
        _log.error("%s: another start in %d s", why, self._wait_s)
        self._due_s = now_s + self._wait_s
        self._wait_s = min(2 * self._wait_s, RESTART_S_MAX)

    def _drop(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._drop()
