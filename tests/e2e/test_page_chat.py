"""Talking with customer service on the shop's page, in a real Chromium, without a mouse."""

from collections.abc import Iterator
from typing import Any

import pytest

from scripts.processes import wait_until
from tests.browser import Browser
from tests.e2e.shopping import PASSWORD, Customer, Desk
from tests.e2e.system import System
from tests.e2e.test_page import ATTACK, page

__all__ = ["page"]

SAID = """[...document.querySelectorAll('#chat .said:not(.system)')].map((each) =>
    [each.className.split(' ')[1], each.querySelector('p').innerText])"""
ANSWERED = "document.querySelectorAll('#chat .said.assistant').length === arguments[0]"
SHOWN = "!document.querySelector(arguments[0]).hidden"
STATE = "document.querySelector('#chat [role=status]').innerText.startsWith(arguments[0])"
CARD = """[...document.querySelectorAll('#chat .action')].map((each) => each.className.split(' ')[1]).join()
    === arguments[0]"""
FOCUS = "document.activeElement.matches(arguments[0])"
FITS = """document.documentElement.scrollWidth <= document.documentElement.clientWidth
    && [...document.querySelectorAll('#chat, #chat *')].filter((each) => each.checkVisibility())
        .every((each) => each.getBoundingClientRect().right <= innerWidth)"""
TIMERS = """(() => {
    const real = window.setTimeout;
    window.pauses = [];
    window.setTimeout = (action, ms, ...more) => (window.pauses.push(ms), real(action, Math.min(ms, 50), ...more));
})()"""
NO_ANSWER = """((status) => {
    const real = window.fetch;
    window.fetch = async (path, options) => {
        if (!path.startsWith("/v1/conversations")) return real(path, options);
        const key = options.headers["Idempotency-Key"];
        if (key) window.keys = [...(window.keys ?? []), key];
        if (window.keys?.length > 1) return real(path, options);
        await real(path, options);
        throw new TypeError("the answer was lost");
    };
})()"""


@pytest.fixture(autouse=True)
def learned(shop: System) -> None:
    shop.wait_learned()


@pytest.fixture
def ada(shop: System) -> Iterator[Customer]:
    with Customer(shop.url) as customer:
        yield customer


def open_chat(page: Browser) -> None:
    page.tab_to("#ask")
    page.press("Enter")
    page.wait_for(SHOWN, "#chat")
    assert page.run(FOCUS, "#chat textarea")


def say(page: Browser, text: str) -> None:
    """Ask the assistant, and wait for its answer."""
    before = page.run("document.querySelectorAll('#chat .said.assistant').length")
    page.fill("#chat textarea", text)
    page.press("Enter")
    page.wait_for(ANSWERED, before + 1, timeout_s=30)


def last_said(page: Browser) -> tuple[str, str]:
    who, text = page.run(SAID)[-1]
    return who, text


def log_in(page: Browser, customer: Customer) -> None:
    page.fill("#account [name=email]", customer.email)
    page.fill("#account [name=password]", PASSWORD)
    page.press("Enter")
    page.wait_for("document.body.className === 'member'")


def bought(ada: Customer, desk: Desk) -> str:
    order_id = ada.order(desk.sell(5))
    assert ada.end_of(order_id)["status"] == "confirmed"
    return order_id


def ends(ada: Customer, order_id: str, status: str) -> Any:
    order: dict[str, Any] = {}

    def ended() -> bool:
        order.update(ada.call("GET", f"/v1/orders/{order_id}"))
        return order["status"] == status

    assert wait_until(ended, 30), order
    return order


def test_a_guest_gets_an_answer_with_its_source_in_either_language(page: Browser) -> None:
    open_chat(page)
    say(page, "How long does a refund take?")
    who, text = last_said(page)
    assert (who, text.startswith("We send a refund off at once")) == ("assistant", True)
    assert page.text("#chat .said.assistant b") == "Assistant"
    assert page.text("#chat .said.assistant a") == "How long does a refund take?"

    page.tab_to("#chat .said.assistant a")
    page.press("Enter")
    page.wait_for(SHOWN, "#chat article")
    assert page.text("#chat article h2") == "How long does a refund take?"
    assert page.run(FOCUS, "#chat article h2")
    assert page.text("#chat form") == ""
    page.tab_to("#chat article button")
    page.press("Enter")
    page.wait_for(FOCUS, "#chat .said.assistant a")

    say(page, "退款要多久到账？")
    assert "退款" in last_said(page)[1]
    assert page.text("#chat form button") == "发送"
    assert page.run("[...document.querySelectorAll('#chat .said.assistant')].map((each) => each.lang)") == ["en", "zh"]

    before = page.run(SAID)
    page.run("location.reload()")
    page.wait_for("document.querySelectorAll('#products > li').length > 0")
    open_chat(page)
    page.wait_for(ANSWERED, 2)
    assert page.run(SAID) == before


def test_a_customer_has_an_order_cancelled_by_the_button(ada: Customer, desk: Desk, page: Browser) -> None:
    order_id = bought(ada, desk)
    open_chat(page)
    say(page, "Where is my order?")
    assert "log in" in last_said(page)[1]
    page.press("\N{ESCAPE}")
    log_in(page, ada)
    open_chat(page)
    assert page.run(SAID) == []

    say(page, "Please cancel my order")
    page.wait_for(CARD, "offered")
    assert ada.call("GET", f"/v1/orders/{order_id}")["status"] == "confirmed"
    assert f"order {order_id[:8]}: confirmed → cancelled" in page.text("#chat .action ul")
    page.tab_to("#chat .action button")
    page.press("Enter")
    page.wait_for(CARD, "done")
    assert page.run(FOCUS, "#chat .action.done")
    assert "✓ Done" in page.text("#chat .action")
    order = ends(ada, order_id, "cancelled")
    assert order["payment"]["status"] == "refunded"
    page.wait_for("document.querySelector('#chat .said.system:last-child').innerText.includes(arguments[0])", order_id)

    page.tab_to("#chat .said a")
    page.press("Enter")
    page.wait_for("document.querySelector('#order').className === 'cancelled'")


def test_what_is_declined_replaced_or_refused_is_shown(ada: Customer, desk: Desk, page: Browser) -> None:
    order_id = bought(ada, desk)
    log_in(page, ada)
    open_chat(page)
    say(page, "Please cancel my order")
    page.tab_to("#chat .action.offered .row button:last-child")
    page.press("Enter")
    page.wait_for(CARD, "declined")
    say(page, "Please cancel my order")
    say(page, "No, send it to 12 Rose Lane, 2611 AB Delft instead")
    page.wait_for(CARD, "declined,expired,offered")

    tracking = ada.call("GET", f"/v1/orders/{order_id}")["shipment"]["tracking"]
    desk.call("POST", f"/v1/shipments/{tracking}/advance")
    ends(ada, order_id, "shipped")
    page.tab_to("#chat .action.offered button")
    page.press("Enter")
    page.wait_for(CARD, "declined,expired,refused")
    assert "✗ Not done: " in page.text("#chat .action.refused")
    assert ada.call("GET", f"/v1/orders/{order_id}")["shipping_address"]["line1"] == "1 Street"


def test_a_person_answers_and_is_rated(ada: Customer, desk: Desk, page: Browser) -> None:
    log_in(page, ada)
    open_chat(page)
    page.tab_to("#chat form button[type=button]")
    page.press("Enter")
    page.wait_for(STATE, "Waiting for somebody", timeout_s=30)
    assert page.run(SAID)[0] == ["customer", "I want to talk to a person."]
    assert page.run(FOCUS, "#chat textarea")

    (conversation,) = ada.call("GET", "/v1/conversations")["items"]
    path = f"/v1/desk/conversations/{conversation['id']}"
    desk.call("POST", f"{path}/claim")
    desk.call("POST", f"{path}/note", json={"text": "Only for colleagues"})
    desk.call("POST", f"{path}/reply", json={"text": ATTACK})
    page.wait_for(STATE, "Our team waits", timeout_s=30)
    assert page.run(SAID)[-1] == ["staff", ATTACK]
    page.fill("#chat textarea", "Thank you")
    page.press("Enter")
    page.wait_for(STATE, "Somebody of our team is with you")
    assert page.run(SAID)[-1] == ["customer", "Thank you"]
    desk.call("POST", f"{path}/solve", json={"text": "Good-bye"})
    page.wait_for(SHOWN, "#chat .stars", timeout_s=30)
    page.tab_to("#chat .stars [aria-label='4 / 5']")
    page.press("Enter")
    page.wait_for(STATE, "Thank you. Solved.")
    assert page.run(FOCUS, "#chat textarea")
    assert ada.call("GET", f"/v1/conversations/{conversation['id']}")["rating"] == 4
    assert "Only for colleagues" not in page.text("#chat")


def test_markup_is_shown_as_text(page: Browser) -> None:
    open_chat(page)
    say(page, ATTACK)
    assert page.run(SAID)[0] == ["customer", ATTACK]
    assert page.run("document.images.length") == 0
    assert page.run("document.title") == "Rialto"


def test_the_panel_closes_by_a_key_and_looks_only_while_it_is_open(page: Browser) -> None:
    open_chat(page)
    say(page, "Hello")
    page.run(TIMERS)
    page.fill("#chat textarea", "Thanks")
    page.press("Enter")
    page.wait_for(ANSWERED, 2, timeout_s=30)
    page.wait_for("window.pauses.filter((ms) => ms === 15000).length > 2")
    pauses = page.run("window.pauses")
    assert pauses[:2] == [1000, 1500]
    assert pauses == sorted(pauses)
    page.press("\N{ESCAPE}")
    assert page.text("#chat") == ""
    assert page.run(FOCUS, "#ask")
    looked = page.run("(window.pauses.length = 0, performance.getEntriesByType('resource').length)")
    page.run("document.dispatchEvent(new Event('visibilitychange'))")
    assert page.run("performance.getEntriesByType('resource').length") == looked
    assert page.run("window.pauses") == []


def test_a_lost_answer_is_said_and_asked_for_again_with_the_same_key(ada: Customer, desk: Desk, page: Browser) -> None:
    log_in(page, ada)
    open_chat(page)
    page.run(NO_ANSWER)
    page.fill("#chat textarea", "How long does a refund take?")
    page.press("Enter")
    page.wait_for("document.querySelector('#chat .problem').innerText.startsWith('The shop does not answer.')")
    assert page.run("document.querySelector('#chat textarea').value") == "How long does a refund take?"
    page.press("Enter")
    page.wait_for(ANSWERED, 1, timeout_s=30)
    assert page.text("#chat .problem") == ""
    assert len(set(page.run("window.keys"))) == 1
    assert len(ada.call("GET", "/v1/conversations")["items"]) == 1


def test_a_narrow_window_shows_all_of_it(ada: Customer, desk: Desk, page: Browser) -> None:
    bought(ada, desk)
    log_in(page, ada)
    page.resize(360, 640)
    open_chat(page)
    assert page.run(FITS)
    say(page, "Whatisthisverylongwordwithoutanyspacesinitthatdoesnotfitintoanarrowwindow?")
    say(page, "Please cancel my order")
    page.wait_for(CARD, "offered")
    assert page.run(FITS)
    page.tab_to("#chat .action button")
    assert page.run(
        "document.elementFromPoint(...((box) => [box.x + 5, box.y + 5])"
        "(document.activeElement.getBoundingClientRect())) === document.activeElement"
    )
