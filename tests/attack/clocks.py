"""One member's clock jumps a year ahead for a second, an hour back, stands still, or runs too fast.

The whole market must keep the right time: an order good till a date expires then, and no signed
order counts as too early or too late. Each peer must name the wrong clock while the other clocks
outvote it, and withdraw the alarm once it is right. After a pause the first order must not get a
time in the past.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from discovery.grapes import running_grapes
from engine import Accepted, Side, Submit, TimeInForce
from peer.client.signer import Signer
from peer.consensus.committee import Mode
from peer.membership.identity import Identity
from tests.support.odd_clock import set_clock
from tests.support.real_mesh import MARKET, RealMesh, order, wait_for

YEAR_MS = 365 * 86_400_000
HOUR_MS = 3_600_000
OFF_MS_MAX = 2_000  # of the ordered clock, while a member's clock is wrong
LATE_MS_MAX = 1_000  # after its time, until an order is gone
SLACK_MS = 3_000  # for a busy machine
PAUSE_S = 4.0


@dataclass(frozen=True)
class Trouble:
    name: str
    ahead_ms: int = 0
    rate: int = 1_000
    raises_alarm: bool = True


TROUBLES = (
    Trouble("a year ahead", YEAR_MS),
    Trouble("an hour back", -HOUR_MS),
    Trouble("stands still", rate=0),
    Trouble("goes twice as fast", rate=2_000),
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def attack(folder: Path, long: bool) -> str:
    lines = []
    for mode, size in ((Mode.CRASH, 3), (Mode.BYZANTINE, 4))[: 2 if long else 1]:
        with running_grapes(1) as grapes:
            urls = [grape.spec.url for grape in grapes]
            (folder / mode).mkdir()
            with RealMesh(
                folder / mode, urls, size, mode, program="tests.support.odd_clock"
            ) as mesh:
                lines.append(f"{size} in {mode} mode: {_trouble(mesh, long)}")
    return "; ".join(lines)


def _trouble(mesh: RealMesh, long: bool) -> str:
    mesh.start()
    _place(mesh, 0, _good_for(HOUR_MS))
    worst_ms = 0
    for victim, trouble in enumerate(TROUBLES if long else TROUBLES[:1]):
        number = victim % len(mesh.peers)
        worst_ms = max(worst_ms, _suffer(mesh, number, trouble))
    time.sleep(PAUSE_S)
    worst_ms = max(worst_ms, _off_ms(mesh))
    late_ms = _expire(mesh)
    open_, _ = _orders(mesh)
    assert open_ > 0, "an order good for an hour is gone"
    return f"ordered clock off by {worst_ms} ms at most, an order gone {late_ms} ms after its time"


def _suffer(mesh: RealMesh, number: int, trouble: Trouble) -> int:
    """The error of the ordered clock, during the fault and afterwards."""
    name = mesh.config.members[number].name
    folder = mesh.peers[number].folder
    set_clock(folder, trouble.ahead_ms, trouble.rate)
    told = [len(peer.log()) for peer in mesh.peers]
    meanwhile_ms = _off_ms_awake(mesh)

    def say(text: str) -> bool:
        logs = [peer.log()[start:] for peer, start in zip(mesh.peers, told, strict=True)]
        return all(text in log for log in logs)

    wait_for("an alarm at every peer", lambda: say(f"ALARM the clock of {name} is over"), 30)
    meanwhile_ms = max(meanwhile_ms, _off_ms_awake(mesh))
    set_clock(folder)
    wait_for("its end at every peer", lambda: say(f"cleared: the clock of {name} is over"), 30)
    return max(meanwhile_ms, _off_ms_awake(mesh))


def _off_ms_awake(mesh: RealMesh) -> int:
    """The same for a busy mesh. With one of three clocks behind, the first commit after a pause may
    have the time from before it: it can lack the third member's new block."""
    for number in range(len(mesh.peers)):
        _place(mesh, number, order("a", Side.BUY, 100, 1))
    return _off_ms(mesh)


def _off_ms(mesh: RealMesh) -> int:
    """The error of the ordered clock, measured by orders of all kinds at every peer."""
    worst_ms = 0
    for number, peer in enumerate(mesh.peers):
        began_ms = now_ms()
        _place(mesh, number, order("a", Side.BUY, 100, 1))
        ordered_ms = peer.state().time_ms
        off_ms = max(began_ms - ordered_ms, ordered_ms - now_ms(), 0)
        assert off_ms <= OFF_MS_MAX, f"at {peer.folder.name} the ordered clock is {off_ms} ms off"
        worst_ms = max(worst_ms, off_ms)
        _place(mesh, number, _good_for(HOUR_MS))
    signer = Signer(Identity.ephemeral(), mesh.config.id.hex())
    entry = signer.sign(order(signer.account, Side.BUY, 100, 1))
    (result,) = mesh.peers[0].client.execute([entry])
    assert isinstance(result.events[0], Accepted), f"a signed order: {result.events}"
    return worst_ms


def _good_for(life_ms: int) -> Submit:
    expire_ms = now_ms() + life_ms
    return Submit(0, "g", MARKET, Side.BUY, 1, 90, tif=TimeInForce.GTD, expire_ms=expire_ms)


def _place(mesh: RealMesh, number: int, submit: Submit) -> None:
    (result,) = mesh.peers[number].client.execute([submit])
    assert isinstance(result.events[0], Accepted), f"{submit}: {result.events}"


def _orders(mesh: RealMesh) -> tuple[int, int]:
    orders = mesh.peers[-1].client.orders("g")
    return len(orders.open), len(orders.pending)


def _expire(mesh: RealMesh) -> int:
    """How long after its time an order is gone everywhere, on an idle mesh."""
    before, _ = _orders(mesh)
    submit = _good_for(2_500)
    _place(mesh, 0, submit)
    wait_for("it at another peer", lambda: _orders(mesh)[0] == before + 1, 2.5)
    wait_for("an order to expire", lambda: _orders(mesh)[0] == before, 20)
    late_ms = now_ms() - submit.expire_ms
    assert 0 <= late_ms <= LATE_MS_MAX + SLACK_MS, f"an order is gone {late_ms} ms after its time"
    return late_ms
