"""Which signatures of traders are good: found out once and, where there is time, beside the loop.

Owns what was found out, and a thread that finds out. A verdict follows from the bytes alone, so it
is no part of the state, and when or where it is found makes no difference.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from peer.consensus.block import digest_of
from peer.replica.signed import Signed, is_signed_by, text_of

VERDICTS_MAX = 20_000  # kept; the oldest make room
AHEAD_MAX = 16  # blocks that are looked at beside the loop

_Case = tuple[str, bytes, bytes]  # account, text, signature
_thread = ThreadPoolExecutor(1, "verify")  # which starts with its first task


def _judge(cases: list[_Case]) -> list[bool]:
    """libsodium works without Python's lock, so the loop can go on."""
    return [is_signed_by(*case) for case in cases]


class Verdicts:
    """On signatures for one mesh. For one thread."""

    def __init__(self, mesh: bytes) -> None:
        self._mesh = mesh.hex()
        self._known: dict[bytes, bool | tuple[Future[list[bool]], int]] = {}
        self._ahead: list[Future[list[bool]]] = []

    def of(self, entry: Signed) -> bool:
        """Whether its account's owner signed it, for this mesh."""
        case = self._case(entry)
        name = digest_of(case[1] + case[2])
        verdict = self._known.get(name)
        if isinstance(verdict, tuple):
            future, place = verdict
            verdict = future.result()[place]
        elif verdict is None:
            verdict = is_signed_by(*case)
        self._keep(name, verdict)
        return verdict

    def ahead(self, entries: Iterable[Signed]) -> None:
        """Begin to find out about these, of which it will be asked soon."""
        self._ahead = [future for future in self._ahead if not future.done()]
        if len(self._ahead) >= AHEAD_MAX:
            return
        cases = {digest_of(c[1] + c[2]): c for c in map(self._case, entries)}
        new = {name: case for name, case in cases.items() if name not in self._known}
        if new:
            future = _thread.submit(_judge, list(new.values()))
            self._ahead.append(future)
            for place, name in enumerate(new):
                self._keep(name, (future, place))

    def _case(self, entry: Signed) -> _Case:
        text = text_of(self._mesh, entry.command, entry.nonce, entry.until_ms)
        return entry.account, text, entry.signature

    def _keep(self, name: bytes, verdict: bool | tuple[Future[list[bool]], int]) -> None:
        self._known[name] = verdict
        if len(self._known) > VERDICTS_MAX:
            del self._known[next(iter(self._known))]
