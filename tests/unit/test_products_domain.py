"""The rules of the catalogue: words that find, and cursors that cannot be bent."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import ServiceError
from chassis.types import Money
from contracts.products import NewProduct, Product, ProductChanges, Variant
from services.products.domain import (
    Search,
    category_name,
    cursor_after,
    is_id,
    is_sku,
    is_slug,
    place_of,
    sort_name,
    words,
    words_of,
)

BY_PRICE = Search(query="lamp", sort="price")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Morlune Table Lamp", ["morlune", "table", "lamp"]),
        ("Café CRÈME", ["cafe", "creme"]),
        ("HOME-0012-RED-M", ["home", "0012", "red", "m"]),
        ("lamps, glasses & boxes", ["lamp", "glasse", "boxe"]),
        ("dress bus cactus tennis gas", ["dress", "bus", "cactus", "tennis", "gas"]),
        ("Straße", ["strasse"]),
        ("\0\ud800'\"*:()|&!\\_ -", []),
        ("a" * 70, ["a" * 64]),
        ("灯 лампа", ["灯", "лампа"]),
    ],
)
def test_words_are_without_case_accents_signs_and_plural(text, expected):
    assert words(text) == expected


@given(st.text())
def test_words_mean_nothing_to_a_query_language(text):
    assert all(word.replace("_", "-").isalnum() and len(word) <= 64 for word in words(text))


def test_each_place_holds_its_words_once():
    variants = [
        Variant(sku=f"HOME-1-{c}", options={"colour": c}, price=Money(amount=1, currency="EUR"), available=True)
        for c in ("RED", "BLUE")
    ]
    product = Product(id="x", name="Red lamp", description="A lamp, a lamp.", category="home", variants=variants)
    found_by = words_of(product)
    assert found_by.title == ["red", "lamp", "home", "1", "blue"]
    assert found_by.label == ["home", "red", "blue"]
    assert found_by.body == ["a", "lamp"]


def test_names_sort_by_their_words_and_short_enough_for_a_cursor():
    assert sorted(["Über", "apple", "Zebra", "'Nut'"], key=sort_name) == ["apple", "'Nut'", "Über", "Zebra"]
    key = sort_name("灯" * 200)
    assert len(key) == 60
    assert len(cursor_after(Search(sort="name"), "\U00020000" * 60, 2**31 - 1)) <= 500


def test_a_category_is_named_by_its_slug():
    assert [category_name(slug) for slug in ("home", "garden-tools")] == ["Home", "Garden tools"]


@pytest.mark.parametrize("place", [(1999, 7), (0, 1)])
def test_a_cursor_gives_back_its_place(place):
    assert place_of(BY_PRICE, cursor_after(BY_PRICE, *place)) == place


def test_a_cursor_of_another_search_is_refused():
    cursor = cursor_after(BY_PRICE, 1999, 7)
    for other in (
        Search(query="lamps", sort="price"),
        Search(query="lamp", sort="-price"),
        Search(query="lamp", sort="name"),
        Search(query="lamp", sort="price", in_stock=True),
    ):
        with pytest.raises(ServiceError, match=r"products\.bad_cursor"):
            place_of(other, cursor)


@pytest.mark.parametrize("at", range(len(cursor_after(BY_PRICE, 1999, 7))))
def test_a_cursor_with_any_character_changed_is_refused(at):
    good = cursor_after(BY_PRICE, 1999, 7)
    for other in ("A", "B", "-", "=", "\n", "é"):
        bent = good[:at] + other + good[at + 1 :]
        if bent != good:
            with pytest.raises(ServiceError, match=r"products\.bad_cursor"):
                place_of(BY_PRICE, bent)


@given(st.text())
def test_any_text_is_a_refused_cursor_and_never_a_crash(text):
    with pytest.raises(ServiceError, match=r"products\.bad_cursor"):
        place_of(Search(sort="name"), text)


@pytest.mark.parametrize(
    ("sort", "key", "number"),
    [("price", 2**40, 1), ("price", "1", 1), ("price", 1, 2**31), ("price", -1, 1), ("name", 1, 1), ("name", "\0", 1)],
)
def test_a_well_made_cursor_that_no_page_can_have_given_is_refused(sort, key, number):
    search = Search(sort=sort)
    with pytest.raises(ServiceError, match=r"products\.bad_cursor"):
        place_of(search, cursor_after(search, key, number))


def test_a_cursor_is_json_in_base64url():
    cursor = cursor_after(BY_PRICE, 1999, 7)
    key, number, _ = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    assert (key, number) == (1999, 7)


def test_what_cannot_be_an_identifier_is_known_by_its_form():
    assert (is_id("0" * 32), is_id("0" * 31), is_id("0" * 31 + "\0"), is_id("0" * 32 + "\n")) == (True,) + (False,) * 3
    assert (is_sku("HOME-1.a_B"), is_sku(""), is_sku("A\n"), is_sku("A B"), is_sku("A" * 65)) == (True,) + (False,) * 4
    assert (is_slug("home-2"), is_slug("Home"), is_slug(""), is_slug("home\n")) == (True, False, False, False)


def new_product(**changes):
    variant = {"sku": "A-1", "price": {"amount": 1, "currency": "EUR"}, "options": {"size": "M"}}
    product = {
        "name": "Lamp",
        "description": "",
        "category": "home",
        "variants": [variant | changes.pop("variant", {})],
    }
    return product | changes


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " \t"},
        {"name": "a\0"},
        {"name": "a" * 201},
        {"description": "\0"},
        {"category": "Home"},
        {"category": "home\n"},
        {"variants": []},
        {"id": "mine"},
        {"variant": {"sku": "A\n"}},
        {"variant": {"sku": "a/b"}},
        {"variant": {"price": {"amount": 0, "currency": "EUR"}}},
        {"variant": {"price": {"amount": 10**9, "currency": "EUR"}}},
        {"variant": {"price": {"amount": 1.5, "currency": "EUR"}}},
        {"variant": {"options": {"size": ""}}},
        {"variant": {"available": True}},
    ],
)
def test_what_is_no_product_is_refused_by_the_contract(wrong):
    assert msgspec.convert(new_product(), NewProduct).variants[0].options == {"size": "M"}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(new_product(**wrong), NewProduct)


def test_changes_may_leave_out_everything():
    assert msgspec.convert({}, ProductChanges) == ProductChanges()
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"sku": "A-1"}, ProductChanges)
