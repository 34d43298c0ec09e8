"""The faults of this peer, as people see them.

Owns the active alarms, each under a key that says what it is about. Must never act on an alarm or
read a clock.

There are two kinds. A condition (a wrong clock, a stalled fetch) is cleared by the code that raised
it, once its cause is gone. A fact (two signed blocks for one place, a halt) stays until the peer
restarts. A key names a kind and at most one member, so others can't create many.
"""

import logging

ALARMS_MAX = 250  # ten kinds for each member of the largest mesh
ALARM_CHARACTERS_MAX = 500

_log = logging.getLogger(__name__)


class Alarms:
    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    @property
    def texts(self) -> list[str]:
        """The active alarms, oldest first."""
        return list(self._texts.values())

    def raise_alarm(self, key: str, text: str) -> None:
        """People must see this fault. Another text for the same key replaces the earlier one; the
        same text is logged once. Others may choose the text's length, so it is cut."""
        text = text[:ALARM_CHARACTERS_MAX]
        if self._texts.get(key) == text:
            return
        self._texts.pop(key, None)
        self._texts[key] = text
        _log.error("ALARM %s", text)
        if len(self._texts) > ALARMS_MAX:
            del self._texts[next(iter(self._texts))]

    def clear(self, key: str) -> None:
        """The cause is gone: remove the alarm."""
        if (text := self._texts.pop(key, None)) is not None:
            _log.warning("cleared: %s", text)
