"""Access tokens: what proves a caller, and what does not."""

import base64
import time
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.auth import TokenVerifier, Verifier, satisfies
from chassis.errors import Unavailable
from chassis.problems import Problem
from chassis.types import CUSTOMER, OPERATOR, STAFF, Caller
from tests.edge_service import PUBLIC_KEY, token


class Users:
    """Answers as users.public_keys does."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def call(self, service: str, method: str, kwargs: Any, *, timeout_s: float, context: Any) -> Any:
        assert (service, method, kwargs) == ("users", "public_keys", {})
        assert context == {"caller": {"service": "gateway"}}
        return self.answer


def token_verifier(answer: Any) -> TokenVerifier:
    extension = TokenVerifier()
    extension.container = SimpleNamespace(service_name="gateway")
    extension.rpc = Users(answer)
    extension.setup()
    return extension


def test_the_gateway_asks_users_for_the_keys() -> None:
    unpadded = base64.urlsafe_b64encode(PUBLIC_KEY).decode().rstrip("=")
    extension = token_verifier([{"kid": "k1", "public_key": unpadded, "since": "later versions only add"}])
    assert extension.caller_of("Bearer " + token("c-9")) == Caller(customer_id="c-9", roles=(CUSTOMER,))


@pytest.mark.parametrize(
    "answer", [None, [{}], [{"kid": "k1", "public_key": "a"}], [{"kid": "k1", "public_key": "AAAA"}]]
)
def test_keys_that_cannot_be_read_are_as_none(answer: Any) -> None:
    with pytest.raises(Unavailable) as unknown:
        token_verifier(answer).caller_of("Bearer " + token())
    assert unknown.value.target == "users"


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
