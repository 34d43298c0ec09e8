"""The order form's table of states, run through all its transitions.

A model-based test: Hypothesis makes the events, Node runs the page's module, and after each event
the invariants of the form hold. What the form would send is read by the gateway's own parser and
judged by the engine's own rules.
"""

import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine import Market, Reason
from engine.validation import malformed
from peer.client.units import units_of
from tests.support.javascript import Scripts, running_scripts
from web.contract import requests
from web.contract.market_responses import Market as MarketReply
from web.contract.responses import fields_of
from web.market_data.book_mirror import BookMirror

NOW_MS = 1_800_000_000_000
MARKETS = [
    Market("BTC-USD", tick="0.01", lot="0.00000001"),
    Market("ODD-USD", tick="0.25", lot="5", quantity_min=2, quantity_max=2**53 - 1, orders_max=900),
    Market("TINY-USD", tick="0.000000000001", lot="0.00000001", price_max=2**53 - 1),
]
VIEWS = {
    market.symbol: fields_of(MarketReply.of(BookMirror(units_of(market)))) for market in MARKETS
}
AMOUNTS = ["price", "stop_price", "quantity", "display"]
SENT = {*AMOUNTS, "tif", "post_only", "expire", "self_trade"}
# Reasons for which the page cannot know the limit.
UNKNOWN_LIMITS = {Reason.INVALID_DISPLAY}

_RUN = """async (load, state, event, market, now) => {
  const rules = await load("form_rules");
  const next = event ? rules.after(state ?? rules.START, event) : state ?? rules.START;
  const fields = ["tif", "post_only", "expire", "self_trade", ...rules.AMOUNTS];
  return {
    state: next,
    shown: fields.filter((name) => rules.isShown(next, name)),
    needed: rules.neededBy(next),
    missing: rules.missing(next),
    mistakes: rules.mistakes(next, market, now, true),
    order: rules.orderOf(next, market, now, true),
    errors: rules.errorsOf(next, rules.mistakes(next, market, now, true)),
  };
}"""


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    with running_scripts() as scripts:
        yield scripts


def typed_amounts() -> st.SearchStrategy[str]:
    sound = st.decimals("0.01", "1000", places=2).map(str)
    printed = st.integers(1, 10**9).map(lambda n: f"{n:,}.50")
    odd = st.text(string.digits + "., '\u202fx-", max_size=9)
    return st.one_of(sound, sound, printed, odd, st.sampled_from(["", "5", "100", "1e5", "0"]))


CHOICES = {
    "side": ["buy", "sell"],
    "type": ["limit", "market", "stop_limit", "stop"],
    "tif": ["gtc", "ioc", "fok", "gtd"],
    "post_only": [True, False],
    "self_trade": ["none", "cancel_both"],
    "expire": ["", "2030-01-01T00:00", "2020-01-01T00:00"],
}
REASONS = [
    *(["invalid_price", "outside_price_band", "would_cross", "invalid_stop_price"]),
    *(["invalid_quantity", "quantity_too_small", "invalid_display", "invalid_expiry"]),
    *(["too_many_orders", "market_halted", ""]),
]


def events() -> st.SearchStrategy[dict[str, Any]]:
    choices = st.sampled_from(sorted(CHOICES)).flatmap(
        lambda name: st.builds(lambda to: {"set": name, "to": to}, st.sampled_from(CHOICES[name]))
    )
    amounts = st.builds(
        lambda name, to: {"set": name, "to": to}, st.sampled_from(AMOUNTS), typed_amounts()
    )
    takes = st.fixed_dictionaries(
        {},
        optional={"price": typed_amounts(), "quantity": typed_amounts(), "side": st.just("sell")},
    ).map(lambda part: {"take": part})
    refused = st.builds(
        lambda reason, field: {"refused": {"reason": reason, "field": field, "text": "no"}},
        st.sampled_from(REASONS),
        st.sampled_from([*AMOUNTS, "expire", "type", "", "account"]),
    )
    others = st.sampled_from(
        [*({"market": market.symbol} for market in MARKETS), {"clear": True}, {"sent": True}]
    )
    return st.one_of(choices, choices, amounts, amounts, takes, refused, others)


def start(scripts: Scripts) -> Any:
    return scripts.run(_RUN, None, {"market": "BTC-USD"}, VIEWS["BTC-USD"], NOW_MS)


def step(scripts: Scripts, before: Any, event: dict[str, Any]) -> Any:
    state = before["state"]
    if "refused" in event or "sent" in event:
        event = {"of": state, **event}
    view = VIEWS[event.get("market", state["market"])]
    after = scripts.run(_RUN, state, event, view, NOW_MS)
    check(after)
    check_change(before, event, after)
    return after


def check(form: Any) -> None:
    """What holds in every state."""
    shown = set(form["shown"])
    assert set(form["mistakes"]) <= shown, "a hidden field is never wrong"
    assert {one["at"] for one in form["state"]["refusals"]} <= shown | {"form"}
    assert set(form["errors"]) <= shown | {"form"}
    assert set(form["needed"]) <= shown
    is_ready = not form["missing"] and not form["mistakes"]
    assert (form["order"] is not None) == is_ready, (
        "nothing but the fields keeps it from being sent"
    )
    if form["order"]:
        check_order(form, shown)


def check_order(form: Any, shown: set[str]) -> None:
    order = form["order"]
    assert SENT & set(order) <= shown, "what is hidden is never sent"
    units = units_of(next(m for m in MARKETS if m.symbol == form["state"]["market"]))
    command = requests.submit_of(requests.parse(requests.NewOrder, order), units, "me")
    reason = malformed(replace(command, id=1), units.market, NOW_MS)
    assert reason is None or reason in UNKNOWN_LIMITS, (reason, order)


def check_change(before: Any, event: dict[str, Any], after: Any) -> None:
    old, new = before["state"], after["state"]
    if "set" in event:
        name = event["set"]
        assert new[name] == event["to"]
        for one in new["refusals"]:
            assert one["causes"] is not None
            assert name not in one["causes"]
        assert all(new[other] == old[other] for other in (*AMOUNTS, "type", "tif") if other != name)
    if "market" in event and event["market"] != old["market"]:
        assert [new[name] for name in AMOUNTS] == [""] * 4, "no price of one market in another"
        assert new["refusals"] == []
    if "refused" in event:
        assert len(new["refusals"]) >= 1
        assert (after["order"] is None) == (before["order"] is None), "it can be sent again"


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(events(), max_size=25))
def test_every_transition_keeps_the_rules(scripts: Scripts, sequence: list[dict[str, Any]]) -> None:
    form = start(scripts)
    for event in sequence:
        form = step(scripts, form, event)
    _never_locked(scripts, form)


def _never_locked(scripts: Scripts, form: Any) -> None:
    """From every state the shown fields can be filled in, and then the order can be sent."""
    sound = {"price": "100", "stop_price": "90", "quantity": "50", "display": "50"}
    for name in form["shown"]:
        value = "2030-01-01T00:00" if name == "expire" else sound.get(name)
        if value:
            form = step(scripts, form, {"set": name, "to": value})
    assert form["order"] is not None, form


@pytest.mark.parametrize("type_", CHOICES["type"])
@pytest.mark.parametrize("tif", CHOICES["tif"])
def test_each_state_of_the_table_is_an_order_of_the_engine(
    scripts: Scripts, type_: Any, tif: Any
) -> None:
    form = start(scripts)
    for name, value in (("type", type_), ("tif", tif), ("post_only", True)):
        form = step(scripts, form, {"set": name, "to": value})
    _never_locked(scripts, form)


def test_a_refusal_of_an_older_form_is_not_shown(scripts: Scripts) -> None:
    form = start(scripts)
    for name, value in (("price", "100"), ("quantity", "1")):
        form = step(scripts, form, {"set": name, "to": value})
    sent = form["state"]
    form = step(scripts, form, {"set": "price", "to": "99"})
    refusal = {"reason": "would_cross", "field": "", "text": "no"}
    late = scripts.run(_RUN, form["state"], {"refused": refusal, "of": sent}, VIEWS["BTC-USD"], 0)
    assert late["errors"] == {}
    now = scripts.run(
        _RUN, form["state"], {"refused": refusal, "of": form["state"]}, VIEWS["BTC-USD"], 0
    )
    assert now["errors"] == {"price": "no"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("67,000.00", "67000.00"),
        ("67 000.5", "67000.5"),
        ("67\u202f000,5", "67000.5"),
        ("67.000,50", "67000.50"),
        ("67'000", "67000"),
        (" 1,234,567 ", "1234567"),
        ("1.234.567", "1234567"),
        ("67,000", "67000"),
        ("0,5", "0.5"),
        ("0,500", "0.500"),
        ("12,25", "12.25"),
        (".5", "0.5"),
        ("5.", "5"),
        ("007", "7"),
        ("1,23,456", None),
        ("1.2.3", None),
        ("1e5", None),
        ("-5", None),
        ("", None),
        ("abc", None),
        (",", None),
    ],
)
def test_amounts_are_read_as_people_write_them(
    scripts: Scripts, typed: str, meant: str | None
) -> None:
    assert scripts.call("typed", "amountOf", typed) == meant


@pytest.mark.parametrize(
    ("field", "typed", "says"),
    [
        ("price", "abc", "The price must be a number such as 100.5"),
        ("price", "100.001", "The price goes in steps of 0.01, such as 100"),
        ("price", "100.019", "The price goes in steps of 0.01, such as 100.01"),
        ("price", "0", "The price must be above zero"),
        ("price", "99999999999999", "The price must be at most 10000000000"),
        ("quantity", "-5", "The quantity must be a number such as 0.25"),
        ("quantity", "99999999999", "The quantity must be at most 10000"),
        ("display", "5", "The shown quantity must be at most the quantity"),
    ],
)
def test_a_mistake_is_told_in_the_words_of_the_field(
    scripts: Scripts, field: str, typed: str, says: str
) -> None:
    form = start(scripts)
    form = step(scripts, form, {"set": "quantity", "to": "1"})
    form = step(scripts, form, {"set": field, "to": typed})
    assert form["errors"][field] == says
