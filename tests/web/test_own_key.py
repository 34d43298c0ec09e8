"""The browser's own key in a real browser: made, used, and still there after a reload."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from peer.replica.signed import key_of_account, text_of
from tests.support.browser import MARKS, expect_accessible, place
from tests.support.signing import HOSTILE, KINDS
from tests.support.web_gateway import Gateway, lone_peer, running_gateway
from web.auth.keys import Scope

pytestmark = MARKS


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("real")
    with lone_peer(folder) as data, running_gateway(data) as gateway:
        yield gateway.wait_ready()


@pytest.fixture
def wrong() -> Iterator[list[str]]:
    """The errors on the console and the page; at the end there must be none."""
    found: list[str] = []
    yield found
    assert found == []


def opened(context: BrowserContext, where: str, wrong: list[str]) -> Page:
    page = context.new_page()
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(where)
    expect(page.locator(".health")).to_contain_text("Live")
    return page


def open_dialog(page: Page) -> None:
    """Open the dialog of the browser's own key, through the account's menu."""
    page.locator("button.account-choice").click()
    page.get_by_role("button", name="My own key").click()


def expect_account(page: Page, account: str) -> None:
    page.locator("button.account-choice").click()
    expect(page.locator(".account input")).to_have_value(account)
    page.keyboard.press("Escape")
    expect(page.locator(".account")).to_have_count(0)


def use_own_key(page: Page) -> str:
    """The account it gives."""
    open_dialog(page)
    expect(page.get_by_role("dialog")).to_contain_text("There is no backup")
    page.get_by_role("button", name="Use my own key").click()
    expect(page.locator(".account-name")).to_have_text(re.compile("^key .{8}…$"))
    account = page.locator("button.account-choice").get_attribute("title")
    assert account is not None
    assert key_of_account(account) is not None
    return account


def rows(page: Page) -> Any:
    return page.locator("#orders-table tbody tr")


def test_a_visitor_trades_with_a_key_of_its_own(
    web: Gateway, context: BrowserContext, wrong: list[str]
) -> None:
    page = opened(context, web.url, wrong)
    expect(page.locator(".send")).to_be_disabled()
    account = use_own_key(page)
    expect(page.locator(".health")).to_contain_text("Live")
    place(page, "buy", "100", "2")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("Open")
    [order] = web.get(f"/orders?account={account}")["orders"]
    assert (order["price"], order["quantity"], order["account"]) == (
        "100.00",
        "2.00000000",
        account,
    )

    for quantity, price, left in (("1.5", "100", "1.5"), ("3", "100", "3"), ("3", "101", "3")):
        page.get_by_role("button", name=f"Edit order {order['id']}").click()
        page.get_by_label(f"Open quantity of order {order['id']}").fill(quantity)
        page.get_by_label(f"Price of order {order['id']}").fill(price)
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".level.bid")).to_contain_text(price)
        expect(page.locator(".level.bid .amount").first).to_contain_text(left)

    page.reload()
    expect(page.locator("button.account-choice")).to_have_attribute("title", account)
    expect(rows(page).first).to_contain_text("Open")
    page.get_by_role("button", name=f"Cancel order {order['id']}").click()
    expect(rows(page)).to_have_count(0)
    assert web.get(f"/orders/{order['id']}")["status"] == "cancelled"


def test_every_kind_of_order_is_signed_as_the_peer_reads_it(
    web: Gateway, context: BrowserContext, wrong: list[str]
) -> None:
    with running_gateway(web.folder, "--source") as singly:  # the bundle exports nothing
        singly.wait_ready()
        page = opened(context, singly.url, wrong)
        account = use_own_key(page)
        place(page, "buy", "9", "1")
        expect(rows(page)).to_have_count(1)
        sent = send_every_kind(page)
    states = ["open", "expired", "open", "filled", "open", "open", "expired", "done", "done"]
    assert sent == states
    assert web.get(f"/orders?account={account}")["orders"] == []


def send_every_kind(page: Page) -> list[str]:
    """What became of each order."""
    sent: list[str] = page.evaluate(
        """async () => {
          const { placeOrder, cancelAll } = await import("/static/js/store.js");
          const soon = Date.now() + 3_600_000;
          const limit = { side: "buy", type: "limit", quantity: "1.25", price: "9.5" };
          const orders = [
            limit,
            { ...limit, tif: "ioc", self_trade: "decrement" },
            { ...limit, tif: "gtd", expire: soon, post_only: true, display: "0.25" },
            { side: "sell", type: "market", quantity: "1" },
            { side: "sell", type: "stop", quantity: "1", stop_price: "5" },
            { side: "buy", type: "stop_limit", quantity: ".5", price: "8", stop_price: "900" },
            { ...limit, side: "sell", tif: "fok", self_trade: "cancel_both" },
          ];
          const replies = await Promise.all(orders.map((order) => placeOrder(order, "BTC-USD")));
          replies.push(await cancelAll("BTC-USD", "sell"), await cancelAll("", ""));
          return replies.map((reply) => reply.error?.detail ?? reply.result.status);
        }"""
    )
    return sent


def test_a_session_stays_and_the_user_can_stop_using_the_key(
    web: Gateway, context: BrowserContext, wrong: list[str]
) -> None:
    page = opened(context, web.link("ann", Scope.TRADE), wrong)
    expect_account(page, "ann")
    account = use_own_key(page)
    place(page, "buy", "9.40", "1")
    expect(rows(page).first).to_contain_text("Open")
    page.get_by_role("button", name="Cancel order").click()
    expect(rows(page)).to_have_count(0)
    open_dialog(page)
    expect(page.locator(".help .key-name")).to_have_text(account)
    page.get_by_role("button", name="Trade without it").click()
    expect_account(page, "ann")
    place(page, "buy", "9.30", "1")
    expect(rows(page).first).to_contain_text("Open")
    [order] = web.get("/orders?account=ann")["orders"]
    assert order["price"] == "9.30"


def test_on_a_phone_the_user_can_stop_using_the_key_too(
    web: Gateway, context: BrowserContext, wrong: list[str]
) -> None:
    page = opened(context, web.url, wrong)
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Use this browser's key").click()
    page.get_by_role("button", name="Use my own key").click()
    expect(page.locator(".send")).to_be_visible()
    expect(page.locator(".notice")).to_have_count(0)
    is_cut = "header => header.scrollWidth > header.clientWidth"
    assert not page.locator(".top").evaluate(is_cut)
    open_dialog(page)
    page.get_by_role("button", name="Trade without it").click()
    expect(page.locator(".notice")).to_be_visible()


def test_no_script_can_read_the_key(
    web: Gateway, context: BrowserContext, wrong: list[str]
) -> None:
    page = opened(context, web.url, wrong)
    use_own_key(page)
    said = page.evaluate(
        """() => new Promise((resolve) => {
          const opening = indexedDB.open("orderbook");
          opening.onsuccess = () => {
            const asking = opening.result.transaction("keys").objectStore("keys").get("own");
            asking.onsuccess = () =>
              crypto.subtle.exportKey("pkcs8", asking.result.privateKey).then(
                () => resolve("exported"),
                (error) => resolve(error.name),
              );
          };
        })"""
    )
    assert said == "InvalidAccessError"


def test_the_page_reports_a_browser_that_cannot_sign(
    web: Gateway, context: BrowserContext, wrong: list[str]
) -> None:
    context.add_init_script("crypto.subtle.generateKey = () => Promise.reject(new Error('no'))")
    page = opened(context, web.url, wrong)
    open_dialog(page)
    expect(page.get_by_role("dialog")).to_contain_text("This browser has no Ed25519")
    expect(page.get_by_role("button", name="Use my own key")).to_be_disabled()


def test_the_browser_and_python_sign_the_same_text(
    web: Gateway, context: BrowserContext, wrong: list[str]
) -> None:
    page = opened(context, web.url, wrong)
    texts = [text_of("ab", command, 1, 2**53 - 1).decode() for command in KINDS]
    assert all(part in KINDS[0].client_id for part in HOSTILE)
    again = page.evaluate("texts => texts.map((text) => JSON.stringify(JSON.parse(text)))", texts)
    assert again == texts


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(
    web: Gateway, context: BrowserContext, wrong: list[str], scheme: Any
) -> None:
    page = opened(context, web.url, wrong)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    use_own_key(page)
    open_dialog(page)
    expect(page.get_by_role("dialog")).to_be_visible()
    expect_accessible(page)
