"""The rules of logging in, the hash of a password, and work off the hub."""

import base64
from datetime import UTC, datetime, timedelta

import eventlet
import jwt
import pytest
from argon2 import PasswordHasher, extract_parameters
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eventlet.patcher import original
from nameko.exceptions import ConfigurationError

from chassis.context import Call, bound
from chassis.errors import Unavailable
from chassis.offhub import off_hub
from services.users import passwords, tokens
from services.users.domain import address_of, wait_after
from services.users.settings import Settings, settings_of

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("spelling", ["ann@shop.example", "Ann@Shop.Example", " ann@shop.example\n"])
def test_an_address_is_known_whatever_its_case(spelling):
    assert address_of(spelling) == address_of("ann@shop.example")


def test_two_addresses_are_two():
    assert address_of("ann@shop.example") != address_of("anna@shop.example")


def test_an_address_that_no_database_would_take_still_has_a_digest():
    assert len(address_of("\ud800\x00@" + "ß" * 5000)) == 64


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 0), (4, 0), (5, 2), (6, 4), (7, 8), (9, 32), (10, 60), (11, 60), (10**9, 60)]
)
def test_waiting_doubles_after_the_free_failures_up_to_its_limit(failures, seconds):
    assert wait_after(failures, free=5, first_s=2, longest_s=60) == timedelta(seconds=seconds)


def test_a_password_is_hashed_as_owasp_says_and_salted():
    first, second = passwords.hash_of("correct horse"), passwords.hash_of("correct horse")
    found = extract_parameters(first)
    assert (found.type.name, found.memory_cost, found.time_cost, found.parallelism) == ("ID", 19456, 2, 1)
    assert first != second
    assert not passwords.is_outdated(first)


def test_only_the_right_password_is_right():
    hashed = passwords.hash_of("correct horse")
    assert passwords.is_right("correct horse", hashed)
    assert not passwords.is_right("correct horsf", hashed)
    assert not passwords.is_right("correct horse", "no hash at all")
    assert not passwords.is_right("correct horse", None)


def test_a_letter_written_in_two_ways_is_one_letter():
    assert passwords.is_right("cafe\u0301 noir", passwords.hash_of("caf\u00e9 noir"))


def test_a_password_of_128_characters_counts_to_its_last():
    hashed = passwords.hash_of("x" * 128)
    assert not passwords.is_right("x" * 127 + "y", hashed)


def test_nobody_has_a_password_but_its_hash_is_computed(monkeypatch):
    verified = []

    def verify(password_hash, password):
        verified.append(password_hash)
        return True

    monkeypatch.setattr(passwords, "_verify", verify)
    assert passwords.is_right("whatever", None) is False
    assert [extract_parameters(one).memory_cost for one in verified] == [19456]


def test_a_hash_with_weaker_parameters_is_outdated():
    assert passwords.is_outdated(PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("x"))


def test_the_hub_goes_on_while_work_is_off_it():
    released = original("threading").Event()
    worker = eventlet.spawn(off_hub, released.wait, 20)
    eventlet.spawn(released.set)  # runs only if the wait above does not hold the hub
    assert worker.wait() is True


def test_an_exception_off_the_hub_comes_back():
    with pytest.raises(ZeroDivisionError):
        off_hub(divmod, 1, 0)
    assert off_hub(divmod, 7, 2) == (3, 1)


def test_no_more_work_than_processors_is_off_the_hub_and_waiting_ends_at_the_deadline(monkeypatch):
    monkeypatch.setattr("chassis.offhub._room", eventlet.semaphore.Semaphore(1))
    released = original("threading").Event()
    worker = eventlet.spawn(off_hub, released.wait, 20)
    eventlet.sleep(0)
    with bound(Call(trace_id="t", deadline=0.0)), pytest.raises(Unavailable):
        off_hub(divmod, 7, 2)
    released.set()
    assert worker.wait() is True
    assert off_hub(divmod, 7, 2) == (3, 1)


def test_an_access_token_is_verified_with_the_public_key_alone():
    private_key = tokens.new_private_key()
    token = tokens.access_token(
        "k1",
        private_key,
        account_id="u1",
        roles=["customer", "staff"],
        session_id="s1",
        at=AT,
        lifetime=timedelta(minutes=15),
    )
    published = tokens.public_key("k1", private_key)
    raw = base64.urlsafe_b64decode(published.public_key + "=")
    claims = jwt.decode(
        token,
        Ed25519PublicKey.from_public_bytes(raw),
        algorithms=["EdDSA"],
        audience="rialto",
        issuer="rialto",
        options={"verify_exp": False},
    )
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": "k1", "typ": "JWT"}
    assert len(claims.pop("jti")) == 32
    seconds = int(AT.timestamp())
    assert claims == {
        "iss": "rialto",
        "aud": "rialto",
        "sub": "u1",
        "roles": ["customer", "staff"],
        "use": "access",
        "sid": "s1",
        "iat": seconds,
        "nbf": seconds,
        "exp": seconds + 900,
    }


def test_settings_have_defaults_and_an_empty_password_is_none():
    assert settings_of({"operator_email": "op@shop.example", "operator_password": "", "login_delay_s": "3"}) == (
        Settings(operator_email="op@shop.example", operator_password=None, login_delay_s=3)
    )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"operator_email": "nobody"}, "operator_email"),
        ({"operator_password": "short"}, "operator_password"),
        ({"access_token_s": 0}, "access_token_s"),
        ({"login_delay_max_s": 7200}, "login_delay_max_s"),
    ],
)
def test_a_wrong_setting_is_named_at_start(wrong, named):
    with pytest.raises(ConfigurationError, match=named):
        settings_of({"operator_email": "op@shop.example"} | wrong)
