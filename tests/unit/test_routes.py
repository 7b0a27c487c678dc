"""Strict JSON, input told field by field, keys and preferences, tokens: what a route checks, without a server."""

import time
from typing import Annotated, Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from chassis import jsonsafe
from chassis.auth import Verifier, satisfies
from chassis.errors import OutcomeUnknown, ServiceError, Unavailable
from chassis.input import Query, field_error, read_body, require_json
from chassis.problems import FieldError, Problem, problem_of
from chassis.routes import Request, Route, _idempotency_key
from chassis.tracing import trace_id_of
from chassis.types import CUSTOMER, OPERATOR, STAFF, Caller
from tests.edge_service import PUBLIC_KEY, Purchase, Search, token

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
        (b'{"sku": "S-1", "quantity": 2.0}', "quantity", "This must be of type int, not float."),
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


@pytest.mark.parametrize(("raw", "code"), [(b"", "request.missing_body"), (b"{", "request.bad_json")])
def test_a_body_that_is_not_json_is_another_error(raw: bytes, code: str) -> None:
    with pytest.raises(Problem) as refused:
        read_body(raw, Purchase)
    assert (refused.value.status, refused.value.code) == (400, code)


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


# --- keys, preferences, traces


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("k", "k"),
        ("k" * 255, "k" * 255),
        ('"k-1"', "k-1"),
        ('"a b"', "a b"),
        ('"' + "k" * 255 + '"', "k" * 255),
        (r'"a\"b\\"', 'a"b\\'),
    ],
)
def test_a_key_may_be_bare_or_quoted(header: str, key: str) -> None:
    assert _idempotency_key(header) == key


@pytest.mark.parametrize("header", ["", '""', "k" * 256, "a b", "ä", '"open', '"a"b"', '"' + "k" * 256 + '"', "a\tb"])
def test_a_malformed_key_is_refused(header: str) -> None:
    with pytest.raises(Problem) as refused:
        _idempotency_key(header)
    assert (refused.value.status, refused.value.code) == (400, "request.bad_key")


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        _idempotency_key(None)
    assert (refused.value.status, refused.value.code) == (400, "request.missing_key")


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        ("wait=5", 5.0),
        ("respond-async, wait=3", 3.0),
        ("Wait = 2 ; x=y, wait=9", 2.0),
        ("wait=600", 10.0),
        ("wait=0", 0.0),
        ("wait=-1", 0.0),
        ("wait=1.5", 0.0),
        ("wait=soon", 0.0),
        ("wait=" + "9" * 5000, 0.0),
        ("", 0.0),
    ],
)
def test_a_wait_is_taken_up_to_the_cap_and_ignored_if_malformed(prefer: str, wait_s: float) -> None:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "REMOTE_ADDR": "127.0.0.1", "HTTP_PREFER": prefer}
    assert Request[None, None](environ, "t", 10).prefer_wait_s == wait_s


def test_a_trace_without_a_header_is_new_each_time() -> None:
    assert trace_id_of({}) != trace_id_of({})


# --- declarations


def test_a_path_in_braces_becomes_a_rule() -> None:
    entrypoint = Route("GET", "/v1/orders/{id}/lines/{line}")
    assert (entrypoint.get_url_rule().rule, entrypoint.parameters) == ("/v1/orders/<id>/lines/<line>", ["id", "line"])


def test_an_inline_route_may_not_read_a_body() -> None:
    with pytest.raises(ValueError, match="an inline route reads no body"):
        Route("POST", "/v1/x", body=Purchase, inline=True)


# --- failures


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (ServiceError("orders.cart_empty", "Empty."), 409, "orders.cart_empty"),
        (ServiceError("users.bad_credentials", "No."), 401, "users.bad_credentials"),
        (ServiceError("request.invalid", "No."), 422, "request.invalid"),
        (ServiceError("auth.forbidden", "No."), 403, "auth.forbidden"),
        (Unavailable("orders", "down"), 503, "service.unavailable"),
        (OutcomeUnknown("orders", "late"), 504, "service.unknown_outcome"),
    ],
)
def test_each_failure_has_its_status(failure: Any, status: int, code: str) -> None:
    problem = problem_of(failure, {"users.bad_credentials": 401})
    assert (problem.status, problem.code) == (status, code)


def test_a_refused_argument_names_its_field() -> None:
    problem = problem_of(ServiceError("request.invalid", "Too long.", {"field": "name"}), {})
    assert problem.errors == (FieldError("name", "Too long."),)


@pytest.mark.parametrize(("after_s", "header"), [(0, "1"), (0.2, "1"), (1.2, "2"), (30, "30")])
def test_a_retry_time_is_rounded_up_to_seconds(after_s: float, header: str) -> None:
    problem = problem_of(ServiceError("users.throttled", "Later.", {"retry_after_s": after_s}), {})
    assert problem.headers == {"Retry-After": header}


# --- tokens


class Keys:
    """What users would answer, and how often it was asked."""

    def __init__(self, **keys: bytes) -> None:
        self.keys, self.asked, self.down = keys, 0, False

    def __call__(self) -> dict[str, bytes]:
        self.asked += 1
        if self.down:
            raise Unavailable("users", "down")
        return self.keys


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keys() -> Keys:
    return Keys(k1=PUBLIC_KEY)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(keys: Keys, clock: Clock) -> Verifier:
    return Verifier(keys, clock)


def refusal(verifier: Verifier, authorization: str) -> str:
    with pytest.raises(Problem) as refused:
        verifier.caller_of(authorization)
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")
    return refused.value.code


def test_a_good_token_tells_who_calls(verifier: Verifier) -> None:
    caller = Caller(customer_id="c-1", roles=(CUSTOMER, STAFF))
    assert verifier.caller_of("Bearer " + token("c-1", (CUSTOMER, STAFF))) == caller
    assert verifier.caller_of("bearer " + token("c-1", (CUSTOMER, STAFF))) == caller
    assert verifier.caller_of(None) is None


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", "Basic dTpw"])
def test_another_scheme_is_no_token(verifier: Verifier, header: str) -> None:
    assert refusal(verifier, header) == "auth.unauthenticated"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 61},
        {"exp": None},
        {"nbf": int(time.time()) + 3600},
        {"iss": "other"},
        {"aud": "other"},
        {"iss": None},
        {"aud": None},
        {"use": "refresh"},
        {"use": None},
        {"roles": "customer"},
        {"roles": None},
        {"roles": [1]},
        {"sub": None},
        {"sub": ""},
        {"kid": "k2"},
        {"kid": "../../etc/passwd"},
        {"kid": "' OR 1=1 --"},
        {"key": Ed25519PrivateKey.generate()},
    ],
    ids=str,
)
def test_a_token_with_something_wrong_is_refused(verifier: Verifier, claims: dict[str, Any]) -> None:
    assert refusal(verifier, "Bearer " + token(**claims)) == "auth.invalid_token"


def test_other_algorithms_are_refused(verifier: Verifier) -> None:
    claims = jwt.decode(token(), options={"verify_signature": False})
    unsigned = jwt.encode(claims, None, algorithm="none", headers={"kid": "k1"})  # type: ignore[arg-type]
    symmetric = jwt.encode(claims, PUBLIC_KEY, algorithm="HS256", headers={"kid": "k1"})
    for bad in (unsigned, symmetric, "a.b.c", "x", token()[:-4] + "AAAA", token() + "x"):
        assert refusal(verifier, f"Bearer {bad}") == "auth.invalid_token"


def test_a_token_that_was_checked_once_still_expires(verifier: Verifier, clock: Clock) -> None:
    bearer = "Bearer " + token(exp=int(clock.now) + 10)
    assert verifier.caller_of(bearer) is not None
    clock.now += 10 + 28
    assert verifier.caller_of(bearer) is not None
    clock.now += 3
    assert refusal(verifier, bearer) == "auth.invalid_token"


def test_keys_are_asked_for_once_a_minute(verifier: Verifier, keys: Keys, clock: Clock) -> None:
    for _ in range(3):
        verifier.caller_of("Bearer " + token())
    assert keys.asked == 1
    clock.now += 61
    verifier.caller_of("Bearer " + token())
    assert keys.asked == 2


def test_a_key_that_was_taken_away_ends_its_tokens(verifier: Verifier, keys: Keys, clock: Clock) -> None:
    bearer = "Bearer " + token()
    verifier.caller_of(bearer)
    keys.keys = {}
    clock.now += 61
    assert refusal(verifier, bearer) == "auth.invalid_token"


def test_an_unknown_key_is_asked_for_at_most_every_five_seconds(verifier: Verifier, keys: Keys, clock: Clock) -> None:
    newer = Ed25519PrivateKey.generate()
    bearer = "Bearer " + token(kid="k2", key=newer)
    assert refusal(verifier, bearer) == "auth.invalid_token"
    keys.keys = {"k1": PUBLIC_KEY, "k2": newer.public_key().public_bytes_raw()}
    assert refusal(verifier, bearer) == "auth.invalid_token"
    assert keys.asked == 1
    clock.now += 5
    assert verifier.caller_of(bearer) == Caller(customer_id="c-1", roles=(CUSTOMER,))
    assert verifier.caller_of("Bearer " + token()) is not None
    assert keys.asked == 2


def test_without_users_nobody_can_be_known(verifier: Verifier, keys: Keys, clock: Clock) -> None:
    keys.down = True
    for _ in range(3):
        with pytest.raises(Unavailable) as unknown:
            verifier.caller_of("Bearer " + token())
        assert unknown.value.target == "users"
    assert keys.asked == 1
    keys.down = False
    clock.now += 5
    assert verifier.caller_of("Bearer " + token()) is not None


def test_while_users_is_away_known_keys_go_on(verifier: Verifier, keys: Keys, clock: Clock) -> None:
    verifier.caller_of("Bearer " + token())
    keys.down = True
    clock.now += 61
    assert verifier.caller_of("Bearer " + token("c-2")) == Caller(customer_id="c-2", roles=(CUSTOMER,))


@pytest.mark.parametrize(
    ("roles", "may"),
    [
        ((), set()),
        (("unheard_of",), set()),
        ((CUSTOMER,), {CUSTOMER}),
        ((STAFF,), {CUSTOMER, STAFF}),
        ((OPERATOR,), {CUSTOMER, STAFF, OPERATOR}),
    ],
)
def test_a_role_may_do_what_lesser_ones_may(roles: tuple[str, ...], may: set[str]) -> None:
    caller = Caller(customer_id="c-1", roles=roles)
    assert {role for role in (CUSTOMER, STAFF, OPERATOR) if satisfies(caller, role)} == may
