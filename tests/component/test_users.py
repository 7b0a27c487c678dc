"""users on a real database: one account for an address, tokens that work once, delays that end."""

import base64
from datetime import timedelta

import eventlet
import jwt
import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nameko.standalone.rpc import ServiceRpcProxy
from nameko.testing.services import worker_factory
from sqlalchemy import func, select, text

from chassis.context import Call
from chassis.db import WorkerDatabase, shift_clock
from chassis.errors import ServiceError
from chassis.tables import inbox
from chassis.types import Caller
from contracts.common import Address
from contracts.users import User
from services.users import passwords
from services.users.founding import found
from services.users.models import Account, LoginFailures, LoginSession, RefreshToken, SigningKey
from services.users.service import UsersService
from services.users.settings import Settings

ANN, BOB, PASSWORD = "Ann@Shop.example", "bob@shop.example", "correct horse"
HOME = Address(name="Ann", line1="1 Quay", city="Bergen", postal_code="5003", country="NO")
SETTINGS = Settings(operator_email="op@shop.example", operator_password="operator-pass", login_delay_s=10)


@pytest.fixture
def database(sessions):
    """Sessions of one database with a key and an operator."""
    opened = sessions("users")
    found(opened, SETTINGS)
    return opened


@pytest.fixture
def as_caller(database):
    """Caller -> users as it serves that caller; None: an operator at the broker."""
    opened = []

    def serve(caller=None):
        opened.append(WorkerDatabase(database.factory))
        call = Call(trace_id="t", caller=caller)
        return worker_factory(UsersService, db=opened[-1], call=call, settings=SETTINGS)

    yield serve
    for one in opened:
        one.close()


@pytest.fixture
def users(as_caller):
    return as_caller()


@pytest.fixture
def ann(users):
    return users.sign_up(ANN, PASSWORD, "Ann", key="ann")


def code_of(act, *args, **kwargs):
    with pytest.raises(ServiceError) as refusal:
        act(*args, **kwargs)
    return refusal.value.code


def claims_of(users, tokens):
    kid = jwt.get_unverified_header(tokens.access_token)["kid"]
    keys = {key.kid: base64.urlsafe_b64decode(key.public_key + "=") for key in users.public_keys()}
    key = Ed25519PublicKey.from_public_bytes(keys[kid])
    return jwt.decode(tokens.access_token, key, algorithms=["EdDSA"], audience="rialto", options={"verify_exp": False})


def count(database, model, *conditions):
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(model).where(*conditions))


def at_once(*acts):
    """Run each in a green thread of its own; what each answered, or its refusal's code."""

    def run(act):
        try:
            return act()
        except ServiceError as exc:
            return exc.code

    return [thread.wait() for thread in [eventlet.spawn(run, act) for act in acts]]


# --- signing up


def test_a_new_user_is_a_customer(users, ann):
    assert ann == User(id=ann.id, email=ANN, name="Ann", roles=["customer"])
    assert users.profile(ann.id).addresses == {}


def test_an_address_is_taken_whatever_its_case(users, ann, database):
    before = count(database, Account)
    assert code_of(users.sign_up, ANN.upper(), PASSWORD, "Other", key="k2") == "users.email_taken"
    assert count(database, Account) == before


def test_a_repeated_sign_up_answers_the_same_user(users, ann):
    assert users.sign_up(ANN, PASSWORD, "Ann", key="ann") == ann


def test_a_key_of_another_sign_up_is_refused(users, ann):
    assert code_of(users.sign_up, BOB, PASSWORD, "Bob", key="ann") == "command.key_reused"


def test_a_refused_sign_up_is_not_kept(users, ann):
    assert code_of(users.sign_up, ANN, PASSWORD, "Bob", key="k2") == "users.email_taken"
    assert users.sign_up(BOB, PASSWORD, "Bob", key="k2").email == BOB


def test_many_at_once_for_one_address_make_one_account(as_caller, database):
    answers = at_once(
        *(lambda n=n, users=as_caller(): users.sign_up(ANN, PASSWORD, f"Ann {n}", key=f"k{n}") for n in range(6))
    )
    assert sorted(answer if isinstance(answer, str) else "made" for answer in answers) == [
        "made",
        *["users.email_taken"] * 5,
    ]
    assert count(database, Account, Account.email == ANN) == 1


def test_nothing_of_a_password_is_kept_but_its_salted_hash(users, ann, database):
    with database.read() as session:
        (kept,) = session.execute(select(inbox).where(inbox.c.key == "ann"))
        stored = session.scalar(select(Account.password_hash).where(Account.id == ann.id))
    users.sign_up(ANN, "another password", "Ann", key="ann")  # the same input: the password is no part of it
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert stored not in kept.result
    assert PASSWORD not in kept.result


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("nobody", PASSWORD, "email"),
        ("a\x00@b", PASSWORD, "email"),
        ("a\ud800@b", PASSWORD, "email"),
        ("a b@c", PASSWORD, "email"),
        ("a@" + "b" * 253, PASSWORD, "email"),
        (ANN, "1234567", "password"),
        (ANN, "x" * 129, "password"),
    ],
)
def test_input_that_does_not_fit_is_refused_by_its_field(users, database, email, password, field):
    with pytest.raises(ServiceError) as refusal:
        users.sign_up(email, password, "Ann", key="k1")
    assert (refusal.value.code, refusal.value.details) == ("request.invalid", {"field": field})
    assert count(database, Account) == 1  # the operator


# --- logging in


def test_a_log_in_hands_out_a_token_for_that_user(users, ann):
    session = users.log_in(ANN.lower(), PASSWORD)
    claims = claims_of(users, session.tokens)
    assert session.user == ann
    assert (session.tokens.token_type, session.tokens.expires_in) == ("Bearer", 900)
    assert (claims["sub"], claims["roles"], claims["use"], claims["iss"]) == (ann.id, ["customer"], "access", "rialto")
    assert (claims["exp"] - claims["iat"], claims["nbf"]) == (900, claims["iat"])


def test_an_unknown_address_and_a_wrong_password_are_told_apart_by_nothing(users, ann, monkeypatch):
    verified = []
    really = passwords._verify
    monkeypatch.setattr(passwords, "_verify", lambda *args: verified.append(args) or really(*args))
    with pytest.raises(ServiceError) as wrong:
        users.log_in(ANN, "wrong password")
    with pytest.raises(ServiceError) as unknown:
        users.log_in("nobody@shop.example", "wrong password")
    assert wrong.value.args == unknown.value.args
    assert wrong.value.code == "users.bad_credentials"
    assert len(verified) == 2  # each took the time of one hash


@pytest.mark.parametrize("email", ["", "a\x01b", "x" * 100_000])
def test_an_address_that_cannot_be_is_only_unknown(users, email):
    assert code_of(users.log_in, email, "\x01") == "users.bad_credentials"


@pytest.mark.parametrize("email", [ANN, "nobody@shop.example"])
def test_five_failures_in_a_row_throttle_an_address_for_a_while(users, ann, email):
    assert [code_of(users.log_in, email, "wrong password") for _ in range(5)] == ["users.bad_credentials"] * 5
    with pytest.raises(ServiceError) as refusal:
        users.log_in(email, PASSWORD)
    assert refusal.value.code == "users.throttled"
    assert refusal.value.details["retry_after_s"] in (9, 10)


def test_a_throttled_address_opens_again_and_the_next_failure_costs_twice_as_long(users, ann):
    for _ in range(5):
        code_of(users.log_in, ANN, "wrong password")
    shift_clock(timedelta(seconds=11))
    assert code_of(users.log_in, ANN, "wrong password") == "users.bad_credentials"
    with pytest.raises(ServiceError) as refusal:
        users.log_in(ANN, PASSWORD)
    assert refusal.value.details["retry_after_s"] in (19, 20)
    shift_clock(timedelta(seconds=32))
    assert users.log_in(ANN, PASSWORD).user == ann


def test_a_success_ends_the_row_of_failures(users, ann):
    for _ in range(3):
        assert [code_of(users.log_in, ANN, "wrong password") for _ in range(4)] == ["users.bad_credentials"] * 4
        assert users.log_in(ANN, PASSWORD).user == ann


def test_one_address_is_throttled_and_another_is_not(users, ann):
    for _ in range(6):
        code_of(users.log_in, BOB, "wrong password")
    assert users.log_in(ANN, PASSWORD).user == ann


def test_of_guesses_at_once_no_more_are_told_than_of_guesses_in_a_row(as_caller, ann):
    guesses = [lambda users=as_caller(): users.log_in(ANN, "wrong password") for _ in range(12)]
    answers = at_once(*guesses, lambda users=as_caller(): users.log_in(BOB, "wrong password"))
    assert sorted(answers[:12]) == ["users.bad_credentials"] * 5 + ["users.throttled"] * 7
    assert answers[12] == "users.bad_credentials"


def test_right_passwords_at_once_are_all_let_in(as_caller, ann):
    answers = at_once(*(lambda users=as_caller(): users.log_in(ANN, PASSWORD).user for _ in range(8)))
    assert answers == [ann] * 8


def test_a_hash_with_old_parameters_is_made_anew_at_log_in(users, ann, database):
    weak = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    with database.write() as session:
        session.get(Account, ann.id).password_hash = weak
    users.log_in(ANN, PASSWORD)
    with database.read() as session:
        assert session.get(Account, ann.id).password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert users.log_in(ANN, PASSWORD).user == ann


# --- refreshing and logging out


def test_a_refresh_token_is_good_for_one_new_pair_of_the_same_session(users, ann, database):
    first = users.log_in(ANN, PASSWORD).tokens
    second = users.refresh(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert claims_of(users, second)["sid"] == claims_of(users, first)["sid"]
    assert claims_of(users, second)["jti"] != claims_of(users, first)["jti"]
    with database.read() as session:
        kept = session.scalars(select(RefreshToken.digest)).all()
    assert not {first.refresh_token, second.refresh_token} & set(kept)


def test_a_used_refresh_token_ends_its_family_and_no_other(users, ann):
    other = users.log_in(ANN, PASSWORD).tokens
    first = users.log_in(ANN, PASSWORD).tokens
    second = users.refresh(first.refresh_token)
    assert code_of(users.refresh, first.refresh_token) == "users.bad_refresh_token"
    assert code_of(users.refresh, second.refresh_token) == "users.bad_refresh_token"
    assert users.refresh(other.refresh_token).token_type == "Bearer"


def test_a_refresh_token_used_twice_at_once_works_once_and_ends_its_family(as_caller, users, ann):
    token = users.log_in(ANN, PASSWORD).tokens.refresh_token
    answers = at_once(*(lambda users=as_caller(): users.refresh(token) for _ in range(4)))
    refused = [answer for answer in answers if isinstance(answer, str)]
    (got,) = [answer for answer in answers if not isinstance(answer, str)]
    assert refused == ["users.bad_refresh_token"] * 3
    assert code_of(users.refresh, got.refresh_token) == "users.bad_refresh_token"


@pytest.mark.parametrize("token", ["", "unknown", "\x01", "x" * 100_000])
def test_an_unknown_refresh_token_is_refused(users, token):
    assert code_of(users.refresh, token) == "users.bad_refresh_token"


def test_a_refresh_token_expires_and_each_new_one_starts_its_own_time(users, ann):
    stale = users.log_in(ANN, PASSWORD).tokens
    living = users.log_in(ANN, PASSWORD).tokens
    shift_clock(timedelta(seconds=SETTINGS.refresh_token_s - 60))
    living = users.refresh(living.refresh_token)
    shift_clock(timedelta(seconds=SETTINGS.refresh_token_s + 60))
    assert code_of(users.refresh, stale.refresh_token) == "users.bad_refresh_token"
    assert users.refresh(living.refresh_token).token_type == "Bearer"


def test_an_access_token_is_no_refresh_token(users, ann):
    assert code_of(users.refresh, users.log_in(ANN, PASSWORD).tokens.access_token) == "users.bad_refresh_token"


def test_after_logging_out_the_refresh_token_is_dead(users, as_caller, ann):
    tokens = users.log_in(ANN, PASSWORD).tokens
    herself = as_caller(Caller(customer_id=ann.id, roles=("customer",)))
    herself.log_out(claims_of(users, tokens)["sid"])
    herself.log_out(claims_of(users, tokens)["sid"])
    herself.log_out("never-was")
    assert code_of(users.refresh, tokens.refresh_token) == "users.bad_refresh_token"


@pytest.mark.parametrize("caller", [Caller(), Caller(customer_id="somebody", roles=("customer", "operator"))])
def test_nobody_logs_another_one_out(users, as_caller, ann, caller):
    tokens = users.log_in(ANN, PASSWORD).tokens
    as_caller(caller).log_out(claims_of(users, tokens)["sid"])
    assert users.refresh(tokens.refresh_token).token_type == "Bearer"


def test_what_is_over_is_swept_by_one_instance_and_what_lives_stays(users, ann, database):
    users.log_in(ANN, PASSWORD)
    code_of(users.log_in, BOB, "wrong password")
    shift_clock(timedelta(seconds=SETTINGS.refresh_token_s - 60))
    living = users.log_in(ANN, PASSWORD).tokens
    users.sweep()
    assert (count(database, LoginFailures), count(database, LoginSession)) == (0, 2)
    shift_clock(timedelta(seconds=SETTINGS.refresh_token_s + 60))
    users.sweep()  # within the hour of the sweep before: that one's
    assert count(database, LoginSession) == 2
    shift_clock(timedelta(seconds=SETTINGS.refresh_token_s + 7200))
    users.sweep()
    assert (count(database, LoginSession), count(database, RefreshToken)) == (1, 1)
    assert users.refresh(living.refresh_token).token_type == "Bearer"


# --- keys, roles, the first operator


def test_instances_that_start_at_once_have_one_key_and_one_operator(sessions, capsys):
    opened = sessions("users")
    settings = Settings(operator_email="op@shop.example")
    at_once(*(lambda: found(opened, settings) for _ in range(4)))
    found(opened, settings)
    assert (count(opened, SigningKey), count(opened, SigningKey, SigningKey.active)) == (1, 1)
    assert count(opened, Account) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("The first operator is op@shop.example with the password ")


def test_the_password_that_was_made_up_is_the_operators(sessions, capsys):
    opened = sessions("users")
    settings = Settings(operator_email="op@shop.example")
    found(opened, settings)
    password = capsys.readouterr().out.split("the password ")[1].split()[0]
    database = WorkerDatabase(opened.factory)
    users = worker_factory(UsersService, db=database, call=Call(trace_id="t"), settings=settings)
    assert users.log_in("op@shop.example", password).user.roles == ["operator"]
    database.close()


def test_a_configured_password_is_not_printed(users, capsys):
    assert users.log_in("op@shop.example", "operator-pass").user.roles == ["operator"]
    assert capsys.readouterr().out == ""


def test_a_second_operator_is_not_made_for_another_address(users, database):
    found(database, Settings(operator_email="second@shop.example", operator_password="operator-pass"))
    assert code_of(users.log_in, "second@shop.example", "operator-pass") == "users.bad_credentials"


def test_a_strangers_account_is_not_made_an_operator(sessions, caplog):
    opened = sessions("users")
    database = WorkerDatabase(opened.factory)
    users = worker_factory(UsersService, db=database, call=Call(trace_id="t"), settings=SETTINGS)
    stranger = users.sign_up("op@shop.example", PASSWORD, "Stranger", key="k1")
    found(opened, SETTINGS)
    assert users.profile(stranger.id).roles == ["customer"]
    assert "there is no operator" in caplog.text
    database.close()


def test_two_active_keys_cannot_be(database):
    with database.write() as session, pytest.raises(Exception, match=r"(?i)unique"):
        session.execute(text("INSERT INTO signing_key SELECT 'k2', private_key, active, created_at FROM signing_key"))


def test_a_key_that_signs_no_more_still_verifies(users, ann, database):
    old = users.log_in(ANN, PASSWORD).tokens
    with database.write() as session:
        session.execute(text("UPDATE signing_key SET active = false"))
    found(database, SETTINGS)
    new = users.refresh(old.refresh_token)
    assert len(users.public_keys()) == 2
    assert jwt.get_unverified_header(old.access_token)["kid"] != jwt.get_unverified_header(new.access_token)["kid"]
    assert claims_of(users, old)["sub"] == claims_of(users, new)["sub"] == ann.id


def test_new_roles_come_with_the_next_token(users, as_caller, ann):
    tokens = users.log_in(ANN, PASSWORD).tokens
    operator = as_caller(Caller(customer_id="op", roles=("operator",)))
    assert operator.set_roles(ann.id, ["staff", "customer", "staff"], key="r1").roles == ["customer", "staff"]
    assert claims_of(users, tokens)["roles"] == ["customer"]
    assert claims_of(users, users.refresh(tokens.refresh_token))["roles"] == ["customer", "staff"]


@pytest.mark.parametrize("roles", [(), ("customer",), ("customer", "staff")])
def test_nobody_but_an_operator_sets_roles(users, as_caller, ann, roles):
    herself = as_caller(Caller(customer_id=ann.id, roles=roles))
    assert code_of(herself.set_roles, ann.id, ["operator"], key="r1") == "auth.forbidden"
    assert users.profile(ann.id).roles == ["customer"]


def test_a_role_that_is_none_is_refused(users, ann):
    assert code_of(users.set_roles, ann.id, ["admin"], key="r1") == "request.invalid"
    assert code_of(users.set_roles, "nobody", ["staff"], key="r2") == "users.not_found"
    assert users.profile(ann.id).roles == ["customer"]


# --- the profile


def test_a_profile_is_its_owners_and_operators(users, as_caller, ann):
    bob = users.sign_up(BOB, PASSWORD, "Bob", key="bob")
    assert as_caller(Caller(customer_id=ann.id, roles=("customer",))).profile(ann.id).email == ANN
    assert as_caller(Caller(customer_id=bob.id, roles=("operator",))).profile(ann.id).email == ANN
    assert as_caller(Caller(service="orders")).profile(ann.id).email == ANN


@pytest.mark.parametrize(
    "act",
    [
        lambda users, ann: users.profile(ann),
        lambda users, ann: users.update(ann, name="Eve", key="k1"),
        lambda users, ann: users.put_address(ann, "home", HOME, key="k1"),
        lambda users, ann: users.delete_address(ann, "work", key="k1"),
        lambda users, ann: users.add_payment_method(ann, "tok_visa", "visa", "4242", key="k1"),
        lambda users, ann: users.delete_payment_method(ann, "any", key="k1"),
    ],
)
def test_anothers_profile_is_as_if_it_were_not_there(users, as_caller, ann, act):
    users.put_address(ann.id, "work", HOME, key="a1")
    before = users.profile(ann.id)
    eve = as_caller(Caller(customer_id="eve", roles=("customer", "staff")))
    with pytest.raises(ServiceError) as hidden:
        act(eve, ann.id)
    with pytest.raises(ServiceError) as missing:
        as_caller(Caller(customer_id="eve", roles=("operator",))).profile("nobody")
    assert hidden.value.args[1].replace(ann.id, "nobody") == missing.value.args[1]
    assert hidden.value.code == missing.value.code == "users.not_found"
    assert users.profile(ann.id) == before


def test_update_changes_what_is_given(users, ann):
    assert users.update(ann.id, name="Anna", key="u1").name == "Anna"
    changed = users.update(ann.id, email="anna@shop.example", key="u2")
    assert (changed.name, changed.email) == ("Anna", "anna@shop.example")
    assert users.update(ann.id, key="u3") == changed
    assert code_of(users.log_in, ANN, PASSWORD) == "users.bad_credentials"
    assert users.log_in("anna@shop.example", PASSWORD).user.id == ann.id


def test_update_to_anothers_address_is_refused_and_to_ones_own_spelling_is_not(users, ann):
    users.sign_up(BOB, PASSWORD, "Bob", key="bob")
    assert code_of(users.update, ann.id, name="Bob", email=BOB.upper(), key="u1") == "users.email_taken"
    assert (users.profile(ann.id).name, users.profile(ann.id).email) == ("Ann", ANN)
    assert users.update(ann.id, email=ANN.lower(), key="u2").email == ANN.lower()


def test_addresses_are_kept_by_name_replaced_and_deleted(users, ann):
    users.put_address(ann.id, "home", HOME, key="a1")
    moved = Address(name="Ann", line1="2 Quay", line2="c/o Bo", city="Bergen", postal_code="5003", country="NO")
    assert users.put_address(ann.id, "home", moved, key="a2").addresses == {"home": moved}
    users.delete_address(ann.id, "home", key="a3")
    users.delete_address(ann.id, "home", key="a4")
    assert users.profile(ann.id).addresses == {}


def test_no_more_than_twenty_addresses_are_kept_even_of_many_at_once(users, as_caller, ann):
    for n in range(18):
        users.put_address(ann.id, f"place {n}", HOME, key=f"a{n}")
    answers = at_once(
        *(lambda n=n, users=as_caller(): users.put_address(ann.id, f"at once {n}", HOME, key=f"o{n}") for n in range(5))
    )
    assert answers.count("users.too_many_addresses") == 3
    assert len(users.profile(ann.id).addresses) == 20
    assert len(users.put_address(ann.id, "place 1", HOME, key="again").addresses) == 20


def test_a_payment_method_is_a_token_and_what_one_may_see(users, ann):
    method = users.add_payment_method(ann.id, "tok_visa", "visa", "4242", key="m1")
    assert users.add_payment_method(ann.id, "tok_visa", "visa", "4242", key="m1") == method
    assert (method.type, method.token, method.brand, method.last4) == ("card", "tok_visa", "visa", "4242")
    assert users.profile(ann.id).payment_methods == [method]
    users.delete_payment_method(ann.id, method.id, key="m2")
    users.delete_payment_method(ann.id, method.id, key="m3")
    assert users.profile(ann.id).payment_methods == []


def test_a_card_number_is_not_taken_for_its_last_digits(users, ann):
    assert code_of(users.add_payment_method, ann.id, "t", "visa", "4242424242424242", key="m1") == "request.invalid"
    assert users.profile(ann.id).payment_methods == []


def test_no_more_than_ten_payment_methods_are_kept(users, ann):
    for n in range(10):
        users.add_payment_method(ann.id, f"tok_{n}", "visa", "4242", key=f"m{n}")
    refused = code_of(users.add_payment_method, ann.id, "tok_10", "visa", "4242", key="m10")
    assert (refused, len(users.profile(ann.id).payment_methods)) == ("users.too_many_payment_methods", 10)


# --- over RabbitMQ


def test_two_instances_serve_a_stock_client(migrated_config, container_factory, capsys):
    for _ in range(2):
        container_factory(UsersService, migrated_config).start()
    assert capsys.readouterr().out.count("The first operator is operator@rialto.example") == 1
    with ServiceRpcProxy("users", migrated_config, timeout=10) as users:
        user = users.sign_up(ANN, PASSWORD, "Ann", key="k1")
        logins = [users.log_in(email=ANN, password=PASSWORD) for _ in range(4)]
        assert [login["user"] for login in logins] == [user] * 4
        pair = users.refresh(logins[0]["tokens"]["refresh_token"])
        assert (pair["token_type"], pair["expires_in"]) == ("Bearer", 900)
        assert len(users.public_keys()) == 1
        with pytest.raises(ServiceError) as refusal:
            users.log_in(ANN, "wrong password")
        assert refusal.value.code == "users.bad_credentials"
