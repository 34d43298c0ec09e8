"""What is wrong at this peer, as people see it.

Owns which alarms stand, by a key that says what an alarm is about. Must never decide what is done
about any of it, nor read a clock.

There are two kinds. A condition (a clock that is off, a fetch that stalls) is cleared by whoever
raised it, once its cause is gone. A fact (two signed blocks for one place, a halt) stays until the
peer is started again. A key names a kind and at most one member, so others cannot make up many.
"""

import logging

ALARMS_MAX = 250  # ten kinds for each of as many members as a mesh may have
ALARM_CHARACTERS_MAX = 500

_log = logging.getLogger(__name__)


class Alarms:
    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    @property
    def texts(self) -> list[str]:
        """What stands, oldest first."""
        return list(self._texts.values())

    def raise_alarm(self, key: str, text: str) -> None:
        """Something is wrong that people must see; another text for the same key replaces the one
        before. The same is logged once. How long it is may be for somebody else to choose, so it
        is cut."""
        text = text[:ALARM_CHARACTERS_MAX]
        if self._texts.get(key) == text:
            return
        self._texts.pop(key, None)
        self._texts[key] = text
        _log.error("ALARM %s", text)
        if len(self._texts) > ALARMS_MAX:
            del self._texts[next(iter(self._texts))]

    def clear(self, key: str) -> None:
        """The cause is gone."""
        if (text := self._texts.pop(key, None)) is not None:
            _log.warning("no more: %s", text)
