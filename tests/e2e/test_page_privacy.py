"""Fetching and erasing what is kept about oneself on the shop's page, in a real Chromium, without a mouse."""

import json

from tests.browser import Browser
from tests.e2e.shopping import PASSWORD, Customer, Desk
from tests.e2e.test_page import page
from tests.e2e.test_page_chat import ada, bought, log_in

__all__ = ["ada", "page"]

FETCH, LEAVE = "#mine button:not([value])", "#mine button[value=leave]"
KEEP_FILE = """(() => {
    const real = URL.createObjectURL;
    URL.createObjectURL = (file) => (file.text().then((text) => (window.saved = text)), real(file));
})()"""


def press(page: Browser, button: str) -> None:
    page.tab_to(button)
    page.press("Enter")


def test_a_customer_fetches_what_is_kept(ada: Customer, desk: Desk, page: Browser) -> None:
    order_id = bought(ada, desk)
    log_in(page, ada)
    page.run(KEEP_FILE)
    press(page, FETCH)
    page.wait_for("window.saved !== undefined", timeout_s=60)
    parts = json.loads(page.run("window.saved"))
    orders = [item["data"]["id"] for part in parts for item in part["items"] if item["kind"] == "order"]
    assert orders == [order_id]
    told = sum(len(part["items"]) for part in parts)
    assert page.text("#mine [role=status]") == f"{told} records. Save them"
    assert page.text("#mine .problem") == ""


def test_who_is_owed_a_parcel_stays_and_reads_why(ada: Customer, desk: Desk, page: Browser) -> None:
    order_id = bought(ada, desk)
    log_in(page, ada)
    press(page, LEAVE)
    page.wait_for("document.querySelector('#mine .problem').innerText.startsWith('Say your password')")
    page.fill("#mine [name=password]", PASSWORD)
    press(page, LEAVE)
    page.wait_for("document.querySelector('#mine .problem').innerText.startsWith('You cannot leave yet')", timeout_s=60)
    assert f"order {order_id}" in page.text("#mine .problem")
    assert page.run("document.body.className") == "member"


def test_who_leaves_is_logged_out_and_cannot_come_back(ada: Customer, page: Browser) -> None:
    log_in(page, ada)
    page.fill("#mine [name=password]", PASSWORD)
    press(page, LEAVE)
    page.wait_for("document.body.className === 'guest'", timeout_s=60)
    assert page.text("#account .problem") == "Your account is gone, and what was kept about you."
    answer = ada.http.post("/v1/sessions", json={"email": ada.email, "password": PASSWORD})
    assert answer.status_code == 401
