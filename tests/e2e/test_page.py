"""The shop's page in a real Chromium, without a mouse."""

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from scripts.processes import wait_until
from tests.browser import KEYS, Browser
from tests.e2e.shopping import PASSWORD, Desk
from tests.e2e.system import System

ATTACK = '<img src=x onerror="document.title = 1">'
ADDRESS = {"name": "Ada Page", "line1": "1 Quiet Street", "postal_code": "2611 AB", "city": "Delft"}
BUY = "#checkout > button"
SEARCHED = "performance.getEntriesByType('resource').some(({ name }) => name.endsWith(arguments[0]))"
LOSE_FIRST_ANSWER = """(() => {
    const real = window.fetch;
    window.fetch = async (path, options) => {
        const answer = await real(path, options);
        if (path !== "/v1/orders") return answer;
        window.fetch = real;
        throw new TypeError("the answer was lost");
    };
})()"""
MARKS = {"up": "●", "draining": "◐", "suspect": "?"}
ROWS = """[...document.querySelectorAll('#registry tbody tr')].map(({ cells: [name, m, instances, queue] }) =>
    [name.innerText, Number(m.innerText), [...instances.querySelectorAll('li')].map((each) => each.innerText),
        queue.innerText])"""
FIGURES = """Object.fromEntries([...document.querySelectorAll('#registry dl > div')].map((figure) =>
    [figure.querySelector('dt').innerText, Number(figure.querySelector('b').innerText)]))"""
FINDINGS = """[...document.querySelectorAll('#registry > ul > li')].map((finding) =>
    [finding.className, finding.innerText])"""
ANSWER_WITH = """((seen) => {
    const real = window.fetch;
    Object.assign(window, { pauses: [], broken: false, setTimeout: (action, ms) => window.pauses.push(ms) });
    window.fetch = async (path, options) => path !== "/v1/registry" ? real(path, options)
        : window.broken ? new Response('{"detail": "The registry is away."}', { status: 503 })
        : new Response(JSON.stringify(seen));
})(arguments[0])"""
LOOK = "document.dispatchEvent(new Event('visibilitychange'))"


@dataclass
class Article:
    name: str
    sku: str


def sell(desk: Desk, name: str) -> Article:
    """Put five of an article on sale for 19.99 each, and wait until the catalogue shows it as in stock."""
    sku = f"PAGE-{secrets.token_hex(4)}"
    variant = {"sku": sku, "options": {"colour": "oat"}, "price": {"amount": 1999, "currency": "EUR"}}
    product = {"name": name, "description": "For a test.", "category": "home", "variants": [variant]}
    path = f"/v1/products/{desk.call('POST', '/v1/products', json=product)['id']}"
    desk.call("POST", f"/v1/stock/{sku}/adjustments", json={"quantity": 5, "reason": "delivery"})
    assert wait_until(lambda: desk.call("GET", path)["variants"][0]["available"], 15)
    return Article(name, sku)


@pytest.fixture
def page(shop: System) -> Iterator[Browser]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs chromium and chromedriver (Debian: chromium-driver)")
    with Browser() as browser:
        browser.go(shop.url)
        browser.wait_for("document.querySelectorAll('#products > li').length > 0")
        yield browser
        assert browser.complaints() == []


def find(page: Browser, words: str, name: str) -> None:
    """Search, and wait for the answer to the last letter: the page may ask before."""
    page.fill("#search [name=query]", words)
    page.wait_for(SEARCHED, f"query={words}")
    page.wait_for("[...document.querySelectorAll('h3')].map((each) => each.innerText).join() === arguments[0]", name)


def add(page: Browser, article: Article) -> None:
    find(page, article.name.split()[-1], article.name)
    page.tab_to("#products button")
    page.press("Enter")
    page.wait_for("document.querySelector('#count').innerText === '1'")


def sign_up(page: Browser) -> str:
    email = f"page-{secrets.token_hex(4)}@rialto.example"
    page.fill("#account [name=email]", email)
    page.fill("#account [name=password]", PASSWORD)
    page.fill("#account [name=name]", "Ada Page")
    page.tab_to("#account [value=new]")
    page.press("Enter")
    page.wait_for("document.body.className === 'member'")
    return email


def log_in(page: Browser, shop: System) -> None:
    """As the operator, who then sees who is there."""
    page.fill("#account [name=email]", shop.env["OPERATOR_EMAIL"])
    page.fill("#account [name=password]", shop.env["OPERATOR_PASSWORD"])
    page.press("Enter")
    page.wait_for("document.querySelectorAll('#registry tbody tr').length > 0")


def told(desk: Desk) -> tuple[list[Any], dict[str, int]]:
    """What the registry says of services, and its figures, as the page writes them."""
    seen = desk.call("GET", "/v1/registry")
    return [told_of(**service) for service in seen["services"]], seen["model"]


def told_of(name: str, m: int, instances: list[Any], queue: dict[str, int | None], **_: Any) -> list[Any]:
    states = [f"{MARKS[each['state']]} {each['state']} {each['pid']} {each['id']}" for each in instances]
    return [name, m, states, " / ".join("\N{EN DASH}" if each is None else str(each) for each in queue.values())]


def check_out(page: Browser, token: str) -> None:
    for name, text in ADDRESS.items():
        page.fill(f"#checkout [name={name}]", text)
    page.tab_to("#checkout [name=token]")
    page.type(token)
    page.wait_for("document.querySelector('#checkout [name=token]').value === arguments[0]", token)
    page.wait_for("document.querySelector('#quote').innerText !== ''")
    page.tab_to(BUY)


def orders(page: Browser, shop: System) -> list[Any]:
    headers = {"Authorization": f"Bearer {page.run('sessionStorage.access')}"}
    return list(httpx.get(f"{shop.url}/v1/orders", headers=headers).json()["items"])


def ended(page: Browser) -> str:
    page.wait_for("['confirmed', 'rejected'].includes(document.querySelector('#order').className)", timeout_s=30)
    return page.text("#state")


def steps(page: Browser) -> list[tuple[str, str]]:
    """(step, outcome) of each line of the timeline."""
    entries = page.run("""[...document.querySelectorAll('#timeline li')].map((entry) =>
        [entry.querySelector('span').innerText, entry.querySelector('small').innerText.split(' ')[0]])""")
    return [(step.lower(), outcome) for step, outcome in entries]


def test_a_guest_fills_a_cart_signs_up_and_buys_with_the_keyboard_alone(
    shop: System, desk: Desk, page: Browser
) -> None:
    article = sell(desk, f"Quiet Kettle {secrets.token_hex(4)}")
    add(page, article)
    page.fill("#lines input", "2")
    page.press("Tab")
    page.wait_for("document.querySelector('#total').innerText === 'Total €39.98'")
    sign_up(page)
    check_out(page, "tok_visa")
    quoted = page.text("#quote").split(" with ")[0]
    page.press("Enter")

    assert ended(page) == "✓ Order confirmed."
    (order,) = orders(page, shop)
    bought, tracking = f"2 \N{MULTIPLICATION SIGN} {article.name}", order["shipment"]["tracking"]
    assert page.text("#outcome") == f"{bought}, {quoted} in all. Payment: captured. Parcel: booked {tracking}"
    assert (order["totals"]["items"]["amount"], order["payment"]["status"]) == (3998, "captured")
    assert sorted(steps(page)[:2]) == [("assess risk", "ok"), ("reserve stock", "ok")]
    assert steps(page)[2:4] == [("authorize payment", "ok"), ("capture payment", "ok")]
    served = ["book sale", "book shipment", "clear cart", "commit stock"]
    assert sorted(steps(page)[4:]) == [(step, "ok") for step in served]
    page.wait_for("document.querySelector('#total').innerText === 'It is empty.'")
    assert page.run("document.activeElement.id") == "order"
    assert desk.stock(article.sku) == (3, 0, 2)


def test_a_refused_capture_shows_the_reason_what_was_undone_and_the_cart_as_it_was(
    shop: System, desk: Desk, page: Browser
) -> None:
    article = sell(desk, f"Quiet Teapot {secrets.token_hex(4)}")
    add(page, article)
    sign_up(page)
    check_out(page, "tok_capture_fails")
    page.press("Enter")

    assert ended(page) == "✗ Order rejected. Your bank refused the payment. Please pay with another card."
    assert "Payment: voided. Parcel: none" in page.text("#outcome")
    assert steps(page)[3] == ("capture payment", "refused")
    assert sorted(steps(page)[4:]) == [
        ("assess risk", "undone"),
        ("authorize payment", "undone"),
        ("reserve stock", "undone"),
    ]
    assert page.text("#lines span") == f"{article.name}, oat"
    assert page.text("#total") == "Total €19.99"
    assert desk.stock(article.sku) == (5, 0, 0)


def test_two_presses_and_a_lost_answer_make_one_order(shop: System, desk: Desk, page: Browser) -> None:
    article = sell(desk, f"Quiet Whisk {secrets.token_hex(4)}")
    add(page, article)
    sign_up(page)
    check_out(page, "tok_visa")
    page.run(LOSE_FIRST_ANSWER)
    page.type(KEYS["Enter"] * 2)
    page.wait_for("document.querySelector('#checkout .problem').innerText.startsWith('The shop does not answer.')")
    assert page.text("#order") == ""
    page.wait_for("document.querySelector('#checkout').ariaBusy === null")
    page.press("Enter")

    assert ended(page) == "✓ Order confirmed."
    assert len(orders(page, shop)) == 1
    assert desk.stock(article.sku) == (4, 0, 1)


def test_markup_in_a_name_is_shown_as_text(desk: Desk, page: Browser) -> None:
    sell(desk, ATTACK)
    find(page, "onerror", ATTACK)
    page.tab_to("#products button")
    page.press("Enter")
    page.wait_for("document.querySelector('#lines span')?.innerText === arguments[0]", f"{ATTACK}, oat")
    assert page.run("document.images.length") == 0
    assert page.run("document.title") == "Rialto"


def test_a_narrow_window_never_scrolls_sideways(desk: Desk, page: Browser) -> None:
    fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    article = sell(desk, f"Quiet Candlestickholderwithoutanyspaceinitsname {secrets.token_hex(4)}")
    page.resize(360, 640)
    assert page.run("innerWidth") == 360
    assert page.run(fits)
    add(page, article)
    assert page.run(fits)
    sign_up(page)
    check_out(page, "tok_capture_fails")
    page.press("Enter")
    ended(page)
    assert page.run(fits)


def test_a_refusal_is_said_beside_what_was_asked(desk: Desk, page: Browser) -> None:
    add(page, sell(desk, f"Quiet Ladle {secrets.token_hex(4)}"))
    page.fill("#lines input", "1000")
    page.press("Tab")
    page.wait_for("document.querySelector('#cart .problem').innerText.startsWith('quantity: ')")
    assert page.run("document.querySelector('#lines input').value") == "1"

    page.fill("#account [name=email]", "nobody@rialto.example")
    page.fill("#account [name=password]", "not-the-password")
    page.press("Enter")
    page.wait_for("document.querySelector('#account .problem').innerText !== ''")
    assert page.text("#account .problem") == "The e-mail address or the password is wrong."
    assert page.run("document.body.className") == "guest"


def test_an_operator_sees_who_is_there_until_the_log_out(shop: System, desk: Desk, page: Browser) -> None:
    log_in(page, shop)
    assert wait_until(lambda: (page.run(ROWS), page.run(FIGURES)) == told(desk), 20), (page.run(ROWS), told(desk))
    assert page.run(FIGURES)["n"] == len(page.run(ROWS)) == 14
    assert page.text("#registry [role=status]").startswith(f"14 services, {page.run(FIGURES)['M']} instances, ")

    page.tab_to("#log-out")
    page.press("Enter")
    page.wait_for("document.body.className === 'guest'")
    assert page.run("document.querySelector('#registry').childNodes.length") == 0


def test_a_customer_does_not_see_who_is_there(page: Browser) -> None:
    sign_up(page)
    page.wait_for(SEARCHED, "/v1/me")
    page.wait_for("document.querySelector('#account').ariaBusy === null")
    assert page.run("document.querySelector('#registry').childNodes.length") == 0
    assert page.text("#registry") == ""
    assert not page.run(SEARCHED, "/web/registry.js")
    assert not page.run(SEARCHED, "/v1/registry")


def test_findings_are_said_in_words_and_an_error_ends_the_looking(shop: System, desk: Desk, page: Browser) -> None:
    log_in(page, shop)
    texts = [("error", "risk has no instance."), ("warning", ATTACK), ("info", "Settings differ.")]
    found = [{"severity": severity, "code": "x", "service": "risk", "text": text} for severity, text in texts]
    page.run(ANSWER_WITH, {**desk.call("GET", "/v1/registry"), "findings": found})
    page.run(LOOK)
    page.wait_for("document.querySelector('#registry .error')?.innerText === '✗ error risk has no instance.'")
    assert page.run(FINDINGS)[1:] == [["warning", f"! warning {ATTACK}"], ["info", "i info Settings differ."]]
    assert page.text("#registry [role=status]").endswith(" instances, 1 error, 1 warning.")
    assert page.run("document.images.length") == 0
    assert page.run("pauses") == [5000]

    page.run("(window.broken = true)")
    page.run(LOOK)
    page.wait_for("document.querySelector('#registry .problem').innerText === 'The registry is away.'")
    page.run(LOOK)
    assert page.run("pauses") == [5000]

    page.run("(window.broken = false)")
    page.tab_to("#registry button")
    page.press("Enter")
    page.wait_for("document.querySelector('#registry .problem').innerText === ''")
    assert page.run("pauses") == [5000, 5000]
    assert page.run("document.activeElement.id") == "registry"
