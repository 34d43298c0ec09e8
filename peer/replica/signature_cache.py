"""Which signatures of traders are good: verified once and, if there is time, in a thread.

Owns the verdicts and the thread that verifies. A verdict follows from the bytes alone. So it is not
part of the state, and it does not matter when or where it is made.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from peer.consensus.block import digest_of
from peer.replica.signed import Signed, is_signed_by, text_of

VERDICTS_MAX = 20_000  # kept; the cache drops the oldest first
AHEAD_MAX = 16  # blocks that wait for the thread

_Case = tuple[str, bytes, bytes]  # account, text, signature
_thread = ThreadPoolExecutor(1, "verify")  # starts with its first task


def _verify(cases: list[_Case]) -> list[bool]:
    """libsodium runs without Python's lock, so the event loop can go on."""
    return [is_signed_by(*case) for case in cases]


class SignatureCache:
    """Verified signatures for one mesh. For one calling thread."""

    def __init__(self, mesh: bytes) -> None:
        self._mesh = mesh.hex()
        self._known: dict[bytes, bool | tuple[Future[list[bool]], int]] = {}
        self._ahead: list[Future[list[bool]]] = []

    def is_valid(self, entry: Signed) -> bool:
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

    def verify_ahead(self, entries: Iterable[Signed]) -> None:
        """Start to verify entries that `is_valid` will need soon."""
        self._ahead = [future for future in self._ahead if not future.done()]
        if len(self._ahead) >= AHEAD_MAX:
            return
        cases = {digest_of(c[1] + c[2]): c for c in map(self._case, entries)}
        new = {name: case for name, case in cases.items() if name not in self._known}
        if new:
            future = _thread.submit(_verify, list(new.values()))
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
