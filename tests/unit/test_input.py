"""What a client sends, read strictly, and told field by field where it does not fit."""

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import jsonsafe
from chassis.input import Query, field_error, read_body, require_json
from chassis.problems import FieldError, Problem
from tests.edge_service import Purchase, Search

# --- strict JSON

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
    lambda children: st.lists(children) | st.dictionaries(st.text("abcäß☃", max_size=5), children),
    max_leaves=20,
)


@given(plain)
def test_what_every_reader_understands_is_read(value: Any) -> None:
    assert jsonsafe.loads(msgspec.json.encode(value)) == value


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', 'The name "a" stands twice in one object.'),
        (b'[{"x": {"a": 1, "a": 1}}]', 'The name "a" stands twice in one object.'),
        (b"NaN", "NaN is not JSON."),
        (b"[-Infinity]", "-Infinity is not JSON."),
        (b"1e400", "A number is out of range."),
        (b"9007199254740993", "An integer is beyond 2^53, which not every reader can hold."),
        (b"-9007199254740993", "An integer is beyond 2^53, which not every reader can hold."),
        (b"1" * 5000, "An integer is beyond 2^53, which not every reader can hold."),
        (b'"a\\u0000b"', "A string holds the character NUL."),
        (b'{"\\u0000": 1}', "A string holds the character NUL."),
        (b'["\\ud800"]', "A string holds half of a surrogate pair."),
        (b'{"a": {"b\\udfff": 1}}', "A string holds half of a surrogate pair."),
        (b'"\xff"', "The text is not UTF-8."),
        (b'"\xed\xa0\x80"', "The text is not UTF-8."),
        (b"[" * 33 + b"]" * 33, "It is nested deeper than 32."),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "It is nested deeper than 32."),
        (b"[" * 100_000, "It is nested deeper than 32."),
        (b'{"a": 1,}', "Expecting property name enclosed in double quotes at line 1, column 9."),
        (b"{} {}", "Extra data at line 1, column 4."),
        (b'"a\nb"', "Invalid control character at at line 1, column 3."),
    ],
)
def test_what_readers_could_understand_differently_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(jsonsafe.BadJson) as refused:
        jsonsafe.loads(raw)
    assert str(refused.value) == why


def test_the_limits_themselves_are_accepted() -> None:
    assert jsonsafe.loads(b"9007199254740992") == 2**53
    assert jsonsafe.loads(b"[" * 32 + b"]" * 32) is not None
    assert len(jsonsafe.loads(b"[" + b"[]," * 100 + b"[]]")) == 101
    assert jsonsafe.loads(b'"\\ud83d\\ude00 \\\\u0000"') == "\U0001f600 \\u0000"


# --- bodies and queries


@pytest.mark.parametrize(
    ("raw", "field", "detail"),
    [
        (b"[]", "body", "This must be of type object, not array."),
        (b'{"sku": "S-1"}', "quantity", "This is required."),
        (b'{"sku": "S-1", "quantity": "2"}', "quantity", "This must be of type int, not str."),
        (b'{"sku": "S-1", "quantity": 2.5}', "quantity", "This must be of type int, not float."),
        (b'{"sku": "S-1", "quantity": true}', "quantity", "This must be of type int, not bool."),
        (b'{"sku": "S-1", "quantity": null}', "quantity", "This must be of type int, not null."),
        (b'{"sku": "S-1", "quantity": -1}', "quantity", "This must be >= 0."),
        (b'{"sku": "S-1", "quantity": 1000}', "quantity", "This must be <= 999."),
        (b'{"sku": "S-1", "quantity": 1, "price": 1}', "price", "There is no such field."),
        (b'{"sku": "S-1", "quantity": 1, "card": {}}', "card.token", "This is required."),
        (b'{"sku": "S-1", "quantity": 1, "card": {"token": ""}}', "card.token", "The length must be >= 1."),
        (b'{"sku": "S-1", "quantity": 1, "card": {"token": "t", "cvc": 1}}', "card.cvc", "There is no such field."),
    ],
)
def test_a_body_that_does_not_fit_names_its_field(raw: bytes, field: str, detail: str) -> None:
    with pytest.raises(Problem) as refused:
        read_body(raw, Purchase)
    assert (refused.value.status, refused.value.code) == (422, "request.invalid")
    assert refused.value.errors == (FieldError(field, detail),)


def test_a_body_that_is_not_json_is_another_error() -> None:
    with pytest.raises(Problem) as refused:
        read_body(b"{", Purchase)
    assert (refused.value.status, refused.value.code) == (400, "request.bad_json")


def test_an_integer_may_be_written_as_a_float() -> None:
    assert read_body(b'{"sku": "S-1", "quantity": 2.0}', Purchase) == Purchase("S-1", 2)


def test_words_of_msgspec_become_sentences() -> None:
    assert field_error("Invalid enum value 'z' - at `$.k`") == FieldError(
        "k", "'z' is not one of the values allowed here."
    )
    assert field_error("Expected `str` matching regex '^[A-Z]{2}$' - at `$.lines[0].country`") == FieldError(
        "lines[0].country", "This must match ^[A-Z]{2}$."
    )
    assert field_error("Invalid RFC3339 encoded datetime - at `$.at`") == FieldError(
        "at", "This must be a datetime as in RFC 3339."
    )
    assert field_error("Something new - at `$.at`") == FieldError("at", "Something new")


def test_a_query_is_read_into_its_struct() -> None:
    read = Query(Search).read
    assert read("") == Search()
    assert read("query=red+gr%C3%BCn%2B&limit=7&in_stock=false") == Search("red grün+", 7, False)


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("colour=red", 422, "colour"),
        ("limit=1&limit=2", 422, "limit"),
        ("limit=0", 422, "limit"),
        ("limit=101", 422, "limit"),
        ("limit=+5", 422, "limit"),
        ("limit=5_0", 422, "limit"),
        ("limit=05", 422, "limit"),
        ("limit=5.0", 422, "limit"),
        ("limit=", 422, "limit"),
        ("limit", 422, "limit"),
        ("limit=%D9%A5", 422, "limit"),
        ("limit=" + "9" * 400, 422, "limit"),
        ("in_stock=True", 422, "in_stock"),
        ("in_stock=1", 422, "in_stock"),
        ("query=%ff", 400, None),
        ("query=%00", 400, None),
    ],
)
def test_a_query_that_does_not_fit_names_its_parameter(query: str, status: int, field: str | None) -> None:
    with pytest.raises(Problem) as refused:
        Query(Search).read(query)
    assert refused.value.status == status
    assert [error.field for error in refused.value.errors] == ([field] if field else [])


def test_a_required_parameter_is_missed_by_name() -> None:
    class Needs(msgspec.Struct, forbid_unknown_fields=True):
        sku: Annotated[str, msgspec.Meta(min_length=1)]

    with pytest.raises(Problem) as refused:
        Query(Needs).read("")
    assert refused.value.errors == (FieldError("sku", "This is required."),)


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", 'application/json;charset="UTF-8"']
)
def test_json_is_accepted_as_json(content_type: str) -> None:
    require_json(content_type)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/jsonp"],
)
def test_another_media_type_is_415(content_type: str) -> None:
    with pytest.raises(Problem) as refused:
        require_json(content_type)
    assert (refused.value.status, refused.value.code) == (415, "request.unsupported_media_type")
    assert refused.value.headers == {"Accept": "application/json"}
