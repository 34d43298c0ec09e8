"""Announces this gateway to the Grapes, for Grenache RPC.

Owns one discovery thread per Grape, while this gateway's peer is a member: one that only follows
takes no orders. Must never delay the gateway: without a Grape it works, but is not found there.
"""

import logging
import random
import threading

from discovery import Discovery, Event, Grape
from web.config import Config

_log = logging.getLogger(__name__)


class Announcer:
    """Call `look` now and then, after any fork; `port` is the gateway's port."""

    def __init__(self, config: Config, port: int) -> None:
        self._discovery: Discovery | None = None
        self._config = config
        self._port = port

    def look(self, is_member: bool) -> None:
        """Announce this gateway from now on, or no more. An announcement ends by itself."""
        if is_member and self._discovery is None and self._config.grapes:
            service = (self._config.announce, self._port)
            grapes = [Grape([url]) for url in self._config.grapes]
            self._discovery = Discovery(grapes, service, [], _note, rng=random.Random())
            self._discovery.start()
        elif not is_member and self._discovery is not None:
            threading.Thread(target=self._discovery.stop, daemon=True).start()  # may take a while
            self._discovery = None

    def stop(self) -> None:
        if self._discovery is not None:
            self._discovery.stop()


def _note(event: Event) -> None:
    _log.info("%r", event)
