"""Announces this gateway to the Grapes, for Grenache RPC.

Owns one discovery thread per Grape. Must never delay the gateway: without a Grape it works, but is
not found there.
"""

import logging
import random

from discovery import Discovery, Event, Grape
from web.config import Config

_log = logging.getLogger(__name__)


class Announcer:
    """Call `start` after any fork; `port` is the gateway's port."""

    def __init__(self, config: Config, port: int) -> None:
        self._discovery: Discovery | None = None
        if config.grapes:
            service = (config.announce, port)
            grapes = [Grape([url]) for url in config.grapes]
            self._discovery = Discovery(grapes, service, [], _note, rng=random.Random())

    def start(self) -> None:
        if self._discovery is not None:
            self._discovery.start()

    def stop(self) -> None:
        if self._discovery is not None:
            self._discovery.stop()


def _note(event: Event) -> None:
    _log.info("%r", event)
