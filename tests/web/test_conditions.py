"""One condition drives every panel: nothing on the page claims what is not known."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests.support.browser import EVERYWHERE, open_mesh
from tests.support.web_faults import Faults
from tests.support.web_gateway import buy

pytestmark = EVERYWHERE


@dataclass
class Line:
    """The browser's connection to the gateway, which a test can cut or hold back."""

    is_cut: bool = False
    drops_books: bool = False
    sockets: list[WebSocketRoute] = field(default_factory=list)

    def route(self, socket: WebSocketRoute) -> None:
        if self.is_cut:
            socket.close()
            return
        self.sockets.append(socket)
        server = socket.connect_to_server()
        server.on_message(lambda text: self._pass_on(socket, text))

    def _pass_on(self, socket: WebSocketRoute, text: str | bytes) -> None:
        if not (self.drops_books and '"channel":"book"' in str(text)):
            socket.send(text)

    def cut(self) -> None:
        self.is_cut = True
        for socket in self.sockets:
            socket.close()


@pytest.fixture
def line(context: BrowserContext) -> Line:
    line = Line()
    context.route_web_socket(re.compile("/ws"), line.route)
    return line


@pytest.fixture
def page(context: BrowserContext, line: Line, quoted: Any) -> Iterator[Page]:
    """The whole page with a whole order in its form; at the end there must be no error."""
    gateway, node = quoted
    wrong: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(gateway.link())
    expect(page.locator(".health")).to_contain_text("Live")
    expect(page.locator(".last")).to_contain_text("100")
    page.get_by_role("textbox", name="Price").fill("50")
    page.get_by_role("textbox", name="Quantity").fill("1")
    yield page
    node.faults.clear()
    assert wrong == []


def stop(faults: Faults) -> None:
    faults.halted = "the disk is full"


def alarm(faults: Faults) -> None:
    faults.alarms.append("the clock of bravo differs by over 2000 ms")


def fault(name: str, value: object = True) -> Callable[[Faults], None]:
    return lambda faults: setattr(faults, name, value)


@dataclass
class Looks:
    """What the panels show under a condition."""

    word: str
    tone: str
    text: str
    fresh: bool = True  # prices have their colours
    known: bool = True  # peers are said to be alive or not
    final: bool = True  # the time to finality is shown
    sends: bool = True


@pytest.mark.parametrize(
    ("cause", "looks"),
    [
        (None, Looks("Live", "good", "Live.")),
        (
            fault("mute"),
            Looks("Stale", "warn", "node is silent", False, False, False, sends=False),
        ),
        (stop, Looks("Stopped", "bad", "the disk is full", fresh=False, final=False, sends=False)),
        (
            fault("disagrees"),
            Looks("Peers disagree", "bad", "trust no price", fresh=False, final=False),
        ),
        (fault("holds"), Looks("No quorum", "warn", "Orders wait, nothing matches", final=False)),
        (fault("catching_up", "commits 1 to 9"), Looks("Catching up", "note", "commits 1 to 9")),
        (alarm, Looks("Alarm", "bad", "the clock of bravo differs")),
    ],
    ids=lambda of: of.word if isinstance(of, Looks) else "",
)
def test_a_condition_of_the_node_drives_every_panel(
    page: Page, quoted: Any, cause: Callable[[Faults], None] | None, looks: Looks
) -> None:
    if cause:
        cause(quoted[1].faults)
    expect_looks(page, looks)
    quoted[1].faults.clear()
    expect_looks(page, Looks("Live", "good", "Live."))


def test_a_peer_that_has_stopped_is_not_counted_as_alive(page: Page, quoted: Any) -> None:
    expect(page.locator(".pill-peers")).to_contain_text("2/3")
    stop(quoted[1].faults)
    expect(page.locator(".pill-peers")).to_contain_text("1/3")
    open_mesh(page)
    expect(page.locator(".verdict")).to_contain_text("1 of 3 alive")
    expect(page.locator(".quorum-dots .on")).to_have_count(1)


def test_without_a_connection_no_panel_claims_anything(page: Page, line: Line) -> None:
    line.cut()
    offline = Looks("Offline", "bad", "No connection to this peer", False, False, False, False)
    expect_looks(page, offline)
    open_mesh(page)
    expect(page.locator(".verdict")).to_contain_text("Not known")
    expect(page.locator(".quorum-dots .on")).to_have_count(0)
    expect(page.locator(".drawer .life.unknown")).to_have_count(3)
    page.keyboard.press("Escape")
    line.is_cut = False
    expect_looks(page, Looks("Live", "good", "Live."))


def test_before_the_first_message_no_panel_claims_anything(
    context: BrowserContext, line: Line, quoted: Any
) -> None:
    line.is_cut = True
    page = context.new_page()
    page.goto(quoted[0].link())
    expect(page.locator(".status")).to_contain_text(re.compile("Connecting|Offline"))
    for claim in ("Live", "alive", "Final in", "No asks", "No trade yet", "same"):
        expect(page.locator(".screen")).not_to_contain_text(claim)
    expect(page.get_by_text("No open orders")).to_have_count(0)
    expect(page.get_by_role("tab", name="Open", exact=True)).to_be_visible()
    expect(page.locator(".scope")).not_to_contain_text("0")


def test_an_unknown_number_of_orders_does_not_look_like_zero(page: Page, line: Line) -> None:
    opened = page.get_by_role("tab", name="Open")
    expect(opened).to_have_text("Open (0)")
    line.cut()
    expect(opened).to_have_text("Open")
    expect(page.locator(".orders")).to_contain_text("Not known yet.")
    line.is_cut = False
    expect(opened).to_have_text("Open (0)")
    expect(page.locator(".orders")).to_contain_text("No open orders")


def test_orders_that_may_be_old_look_old_and_are_locked(
    page: Page, line: Line, quoted: Any
) -> None:
    number = quoted[0].order(**buy("50", "1", "operator"))["id"]
    cancel = page.get_by_role("button", name=f"Cancel order {number}")
    expect(cancel).to_be_enabled()
    line.cut()
    expect(cancel).to_be_disabled()
    expect(page.locator(".cancel-all")).to_have_text("Cancel all")
    expect(page.locator(".cancel-all")).to_be_disabled()
    expect(page.locator(".orders.old")).to_have_count(1)
    line.is_cut = False
    expect(cancel).to_be_enabled()
    expect(page.locator(".orders.old")).to_have_count(0)
    cancel.click()
    expect(page.locator("#orders-table tbody tr")).to_have_count(0)


def test_a_lost_message_drains_the_book_until_the_snapshot(
    page: Page, line: Line, quoted: Any
) -> None:
    line.drops_books = True
    quoted[0].order(**buy("90", "1"))
    page.wait_for_timeout(500)  # for the message that is dropped
    line.drops_books = False
    quoted[0].order(**buy("91", "1"))
    expect(page.locator(".health")).to_have_attribute("title", re.compile("Resyncs so far: 1"))
    expect_looks(page, Looks("Live", "good", "Live."))


def test_a_session_that_ends_makes_the_page_read_only_at_once(page: Page) -> None:
    page.evaluate("fetch('/session', { method: 'DELETE' })")
    expect(page.locator(".notice")).to_contain_text("Read only")
    expect(page.locator(".top")).to_contain_text("Read only")
    expect(page.locator(".send")).to_be_disabled()
    expect(page.locator("#orders-table tbody tr")).to_have_count(0)
    expect(page.locator(".trade-form")).to_have_attribute("inert", "")
    expect_looks(page, Looks("Live", "good", "Live.", sends=False))


def expect_looks(page: Page, looks: Looks) -> None:
    expect(page.locator(".health")).to_contain_text(looks.word)
    expect(page.locator(f".health.{looks.tone}")).to_have_count(1)
    expect(page.locator(f".status.{looks.tone}")).to_contain_text(looks.text)
    for panel in (".ladder", ".tape", ".charts", ".day"):
        expect(page.locator(f"{panel}.old")).to_have_count(0 if looks.fresh else 1)
    expect(page.locator(".last.old")).to_have_count(0 if looks.fresh else 1)
    expect(page.locator(".strip .life.unknown")).to_have_count(0 if looks.known else 3)
    expect(page.locator(".health .pill-peers")).to_have_count(1 if looks.known else 0)
    final = page.locator(".status").get_by_text("Final in")
    expect(final).to_have_count(1 if looks.final else 0)
    if looks.sends:
        expect(page.locator(".send")).to_be_enabled()
    else:
        expect(page.locator(".send")).to_be_disabled()
    if not looks.known:
        for claim in ("alive", "same", "Live"):
            expect(page.locator(".screen")).not_to_contain_text(claim)
