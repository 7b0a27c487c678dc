"""Exports and erasures of customers: users and carts on real databases, the other services by a script."""

import dataclasses
from datetime import timedelta
from types import SimpleNamespace

import eventlet
import msgspec
import pytest
from nameko.testing.services import worker_factory
from sqlalchemy import inspect, select, text

from chassis.commands import hash_of
from chassis.context import Call, bound
from chassis.db import WorkerDatabase, shift_clock
from chassis.errors import Failure, OutcomeUnknown, ServiceError
from chassis.privacy_types import PersonalData, Record
from chassis.prune import forget_sagas
from chassis.tables import inbox, outbox, saga
from chassis.types import Caller
from contracts.common import Address, CartRef
from services.carts.service import CartsService
from services.users import collecting, passwords, requests
from services.users.flows import ERASE, EXPORT, PARTICIPANTS
from services.users.founding import found
from services.users.service import UsersService
from services.users.settings import Settings
from tests.component.test_carts import LAMP, pairs
from tests.sagas import engine, go_on

ANN, BOB, PASSWORD = "ann@shop.example", "bob@shop.example", "correct horse"
SETTINGS = Settings(operator_email="op@shop.example", operator_password="operator-pass", login_delay_s=10)
HOME = Address(name="Annabel Lee", line1="1 Quay", city="Bergen", postal_code="5003", country="NO")
STAFF = Caller(customer_id="sam", roles=("customer", "staff"))
SCRIPTED = sorted(PARTICIPANTS.keys() - {"users", "carts"})
KEPT = timedelta(seconds=SETTINGS.privacy_export_kept_s)


class House:
    """Answers a saga's calls: users and carts are the real ones, what the rest says is scripted by `service.method`."""

    def __init__(self, users, carts):
        self.real = {"users": users, "carts": carts}
        self.script = {}

    def send(self, service, method, args, kwargs, *, context, **options):
        def result():
            eventlet.sleep(0)
            answer = self.script.get(f"{service}.{method}")
            if isinstance(answer, Failure):
                raise answer
            if service not in self.real:
                return answer if answer is not None else {"rows": {}} if method == "erase" else None
            caller = msgspec.convert(context["caller"], Caller)
            with bound(Call(trace_id="t", caller=caller)) as call:
                return msgspec.to_builtins(getattr(self.real[service](call), method)(**kwargs))

        return SimpleNamespace(result=result)


class Silent:
    """Another service, which keeps nothing, or these records."""

    def __init__(self, *records):
        self.records = records

    def personal_data(self, person, after, limit):
        begin = int(after or 0)
        end = begin + limit
        items = [Record(kind="note", data={"text": each}) for each in self.records[begin:end]]
        return PersonalData(items=items, next_after=str(end) if end < len(self.records) else None)


@pytest.fixture
def databases(sessions):
    opened = {"users": sessions("users"), "carts": sessions("carts")}
    found(opened["users"], SETTINGS)
    return opened


@pytest.fixture
def house(databases):
    opened = []

    def worker_of(service):
        opened.append(WorkerDatabase(databases[service].factory))
        return opened[-1]

    def users(call):
        others = {name: Silent() for name in SCRIPTED} | {"carts": carts()} | house.others
        given = dict(call=call, settings=SETTINGS, sagas=house.sagas, others=others)
        return worker_factory(UsersService, db=worker_of("users"), **given)

    def carts(call=Call(trace_id="t")):
        return worker_factory(CartsService, db=worker_of("carts"), call=call, settings=None)

    house = House(users, carts)
    house.others = {}
    house.databases = databases
    house.sagas = engine(databases["users"], house, EXPORT, ERASE)
    house.sagas.rounds = dataclasses.replace(house.sagas.rounds, service="users")
    databases["users"].on_commit("sagas", house.sagas._drive_all)
    house.users = lambda caller=None: users(Call(trace_id="t", caller=caller))
    house.carts = carts
    yield house
    house.sagas.pool.waitall()
    for one in opened:
        one.close()


@pytest.fixture
def ann(house):
    """A customer of whom both services keep something."""
    users = house.users()
    ann = users.sign_up(ANN, PASSWORD, "Annabel", key="ann")
    users.put_address(ann.id, "home", HOME, key="home")
    users.add_payment_method(ann.id, "tok_secret", "Visa", "4242", key="card")
    users.log_in(ANN, PASSWORD)
    house.carts().put_item(CartRef(customer_id=ann.id), LAMP, 2, key="lamp")
    return Caller(customer_id=ann.id, roles=("customer",))


def ended(house, request, rounds=50):
    """A request once it has ended, or as it is after so many rounds."""
    for _ in range(rounds):
        house.sagas.pool.waitall()
        request = house.users().privacy_request(request.id)
        if request.status != "running":
            break
        go_on(house.sagas, 5)
    return request


def export(house, caller, key="export"):
    return ended(house, house.users(caller).request_export(caller.customer_id, key=key))


def erase(house, caller, key="erasure"):
    return ended(house, house.users(caller).request_erasure(caller.customer_id, PASSWORD, key=key))


def code_of(act, *args, **kwargs):
    with pytest.raises(ServiceError) as refusal:
        act(*args, **kwargs)
    return refusal.value.code


def told(document):
    """What an export holds: the service and kind of each record, with its data."""
    return [(part.service, item.kind, item.data) for part in document.parts for item in part.items]


def everything(database):
    """All that is kept in a database, as one text."""
    with database.read() as session:
        names = inspect(session.connection()).get_table_names()
        return str({name: [tuple(row) for row in session.execute(text(f"SELECT * FROM {name}"))] for name in names})


def of_sagas(database):
    with database.read() as session:
        return session.scalars(select(inbox.c.saga_id).where(inbox.c.saga_id.is_not(None))).all()


def hear_what_is_forgotten(house):
    """As carts' handler does, for every event that users has to send."""
    with house.databases["users"].read() as session:
        payloads = [msgspec.json.decode(payload) for payload in session.scalars(select(outbox.c.payload))]
    with house.databases["carts"].write() as session:
        for payload in payloads:
            forget_sagas(session, "users", payload["saga_ids"])


# --- exports


def test_an_export_tells_what_each_service_keeps_and_no_secret(house, ann):
    request = export(house, ann)
    assert (request.status, request.open, request.expires_at - request.ended_at) == ("ready", [], KEPT)
    document = house.users(ann).export_document(request.id)
    assert document.next_after is None
    assert {part.service: part.complete for part in document.parts} == dict.fromkeys(PARTICIPANTS, True)
    records = told(document)
    assert ("carts", "cart", [[LAMP, 2]]) in [(service, kind, data.get("lines")) for service, kind, data in records]
    assert sorted(kind for service, kind, _ in records if service == "users") == [
        "account",
        "login_session",
        "refresh_token",
        "repeatable_answer",
        "request",
        "roles",
        "saved_address",
        "saved_method",
    ]
    assert (ANN in str(records), HOME.line1 in str(records), "4242" in str(records)) == (True, True, True)
    assert "tok_secret" not in str(document)
    assert "argon2" not in str(document)


def test_a_long_export_is_read_answer_by_answer_each_part_once(house, ann, monkeypatch):
    monkeypatch.setattr(requests, "DOCUMENT_BYTES", 1)
    house.others = {"carts": Silent(*map(str, range(450)))}
    request = export(house, ann)
    parts, after = [], None
    while True:
        document = house.users(ann).export_document(request.id, after)
        parts += document.parts
        after = document.next_after
        if after is None:
            break
    notes = [item.data["text"] for part in parts for item in part.items if item.kind == "note"]
    assert notes == [str(number) for number in range(450)]
    assert sorted(part.service for part in parts) == sorted([*PARTICIPANTS, "carts", "carts"])


def test_an_export_says_where_it_does_not_hold_all(house, ann, monkeypatch):
    monkeypatch.setattr(collecting, "PAGES", 2)
    house.others = {"carts": Silent(*map(str, range(401)))}
    document = house.users(ann).export_document(export(house, ann).id)
    assert [len(part.items) for part in document.parts if part.service == "carts"] == [200, 200]
    assert {part.service for part in document.parts if not part.complete} == {"carts"}


def test_an_export_waits_for_a_service_that_is_silent(house, ann):
    house.script["users.collect"] = OutcomeUnknown("users", "it did not answer in time")
    request = ended(house, house.users(ann).request_export(ann.customer_id, key="k"), rounds=3)
    assert request.status == "running"
    assert code_of(house.users(ann).export_document, request.id) == "privacy.not_ready"
    house.script.clear()
    assert ended(house, request).status == "ready"


def test_an_export_is_its_customers_alone(house, ann):
    request = export(house, ann)
    bob = Caller(customer_id="bob", roles=("customer",))
    for other in (bob, Caller(), STAFF):
        assert code_of(house.users(other).privacy_request, request.id) == "privacy.not_found"
        assert code_of(house.users(other).export_document, request.id) == "privacy.not_found"
    assert code_of(house.users(bob).request_export, ann.customer_id, key="k") == "users.not_found"


def test_an_export_is_removed_when_its_time_is_over(house, ann):
    request = export(house, ann)
    shift_clock(KEPT)
    assert code_of(house.users(ann).privacy_request, request.id) == "privacy.not_found"
    house.users().sweep()
    with house.databases["users"].read() as session:
        left = [session.scalar(text(f"SELECT count(*) FROM {name}")) for name in ("privacy_request", "export_part")]
        assert (left, session.scalars(select(saga.c.id)).all()) == ([0, 0], [])
    hear_what_is_forgotten(house)
    assert [of_sagas(database) for database in house.databases.values()] == [[], []]


def test_a_sweep_before_its_time_leaves_an_export_alone(house, ann):
    request = export(house, ann)
    shift_clock(KEPT - timedelta(minutes=1))
    house.users().sweep()
    assert house.users(ann).privacy_request(request.id).status == "ready"


def test_the_same_key_answers_the_same_export_and_another_waits_for_its_end(house, ann):
    house.script["users.collect"] = OutcomeUnknown("users", "it did not answer in time")
    first = house.users(ann).request_export(ann.customer_id, key="k")
    assert house.users(ann).request_export(ann.customer_id, key="k").id == first.id
    with pytest.raises(ServiceError) as refusal:
        house.users(ann).request_export(ann.customer_id, key="k2")
    assert (refusal.value.code, refusal.value.details) == ("privacy.in_progress", {"id": first.id})
    house.script.clear()
    ended(house, first)
    assert export(house, ann, key="k2").status == "ready"


# --- erasures


def test_who_is_erased_is_gone_everywhere_and_the_address_may_sign_up_anew(house, ann):
    export(house, ann)
    request = erase(house, ann)
    assert (request.status, request.open, request.expires_at) == ("erased", [], None)
    assert code_of(house.users().log_in, ANN, PASSWORD) == "users.bad_credentials"
    assert code_of(house.users().profile, ann.customer_id) == "users.not_found"
    assert house.carts().get(CartRef(customer_id=ann.customer_id)).lines == []
    assert code_of(house.carts().put_item, CartRef(customer_id=ann.customer_id), LAMP, 1, key="k") == "privacy.leaving"
    again = house.users().sign_up(ANN, PASSWORD, "Annabel", key="again")
    assert again.id != ann.customer_id
    assert house.users().log_in(ANN, PASSWORD).user == again
    assert house.carts().put_item(CartRef(customer_id=again.id), LAMP, 1, key="k2").lines != []


def test_nothing_of_the_person_stays_behind_not_even_where_it_was_done(house, ann):
    house.script["carts.begin_erasure"] = ServiceError("privacy.open_business", "carts: not over yet: cart 1.")
    assert erase(house, ann, key="first").status == "refused"
    house.script.clear()
    export(house, ann)
    assert code_of(house.users().log_in, ANN, "wrong password") == "users.bad_credentials"
    assert erase(house, ann).status == "erased"
    hear_what_is_forgotten(house)
    for database in house.databases.values():
        kept = everything(database)
        assert [word for word in (ANN, "Annabel", HOME.line1, "tok_secret", "4242") if word in kept] == []
        assert of_sagas(database) == []


def test_others_keep_what_is_theirs(house, ann):
    bob = house.users().sign_up(BOB, PASSWORD, "Bob", key="bob")
    house.users().add_payment_method(bob.id, "tok_of_bob", "Visa", "1111", key="card-of-bob")
    erase(house, ann)
    assert house.users().log_in(BOB, PASSWORD).user == bob
    assert house.users().sign_up(BOB, PASSWORD, "Bob", key="bob") == bob  # the answer is still kept
    assert [each.token for each in house.users().profile(bob.id).payment_methods] == ["tok_of_bob"]
    assert house.users().add_payment_method(bob.id, "tok_of_bob", "Visa", "1111", key="card-of-bob").last4 == "1111"
    assert len(house.users().profile(bob.id).payment_methods) == 1


def test_what_is_not_over_refuses_in_the_words_of_each_service_and_the_customer_stays(house, ann):
    house.users().set_roles(ann.customer_id, ["customer", "staff"], key="roles")
    house.script["carts.begin_erasure"] = ServiceError("privacy.open_business", "carts: not over yet: cart 1.")
    request = erase(house, ann)
    assert request.status == "refused"
    assert sorted(request.open) == ["carts: not over yet: cart 1.", f"users: not over yet: roles {ann.customer_id}."]
    assert request.expires_at - request.ended_at == KEPT
    house.users().set_roles(ann.customer_id, ["customer"], key="roles taken")
    assert house.users().log_in(ANN, PASSWORD).user.email == ANN
    assert pairs(house.carts().put_item(CartRef(customer_id=ann.customer_id), LAMP, 3, key="k")) == [(LAMP, 3)]
    house.script.clear()
    assert erase(house, ann, key="second").status == "erased"


def test_nothing_of_an_account_changes_while_its_customer_leaves(house, ann):
    tokens = house.users().log_in(ANN, PASSWORD).tokens
    house.script["carts.begin_erasure"] = OutcomeUnknown("carts", "it did not answer in time")
    request = ended(house, house.users(ann).request_erasure(ann.customer_id, PASSWORD, key="k"), rounds=3)
    users = house.users()
    tries = [
        lambda: users.log_in(ANN, PASSWORD),
        lambda: users.refresh(tokens.refresh_token),
        lambda: users.update(ann.customer_id, "Other", key="1"),
        lambda: users.set_roles(ann.customer_id, ["staff"], key="2"),
        lambda: users.put_address(ann.customer_id, "work", HOME, key="3"),
        lambda: users.delete_address(ann.customer_id, "home", key="4"),
        lambda: users.add_payment_method(ann.customer_id, "tok", "Visa", "1111", key="5"),
        lambda: users.delete_payment_method(ann.customer_id, "m", key="6"),
        lambda: users.request_export(ann.customer_id, key="7"),
    ]
    assert [code_of(each) for each in tries] == ["privacy.leaving"] * len(tries)
    shift_clock(timedelta(seconds=901))
    request = ended(house, request)
    assert (request.status, request.open) == ("refused", ["It took too long."])
    assert house.users().refresh(tokens.refresh_token).expires_in == 900


def test_an_erasure_that_was_decided_waits_for_a_silent_service_however_long(house, ann):
    house.script["carts.erase"] = OutcomeUnknown("carts", "it did not answer in time")
    request = ended(house, house.users(ann).request_erasure(ann.customer_id, PASSWORD, key="k"), rounds=3)
    shift_clock(timedelta(seconds=901))
    assert ended(house, request, rounds=3).status == "running"
    assert house.users().profile(ann.customer_id).email == ANN  # users' own comes last
    house.script.clear()
    assert ended(house, request).status == "erased"


def test_an_export_that_is_collected_is_open_business(house, ann):
    house.script["users.collect"] = OutcomeUnknown("users", "it did not answer in time")
    running = house.users(ann).request_export(ann.customer_id, key="k")
    refused = erase(house, ann)
    assert (refused.status, refused.open) == ("refused", [f"users: not over yet: request {running.id}."])
    house.script.clear()
    assert ended(house, running).status == "ready"


def test_a_wrong_password_begins_nothing_and_is_throttled(house, ann, monkeypatch):
    users = house.users(ann)
    wrong = [code_of(users.request_erasure, ann.customer_id, "wrong", key=f"k{n}") for n in range(5)]
    assert wrong == ["users.bad_credentials"] * 5
    with monkeypatch.context() as patched:
        patched.delattr(passwords, "is_right")  # nobody takes the time for a hash
        assert code_of(users.request_erasure, ann.customer_id, PASSWORD, key="k5") == "users.throttled"
    assert code_of(users.log_in, ANN, PASSWORD) == "users.throttled"
    with house.databases["users"].read() as session:
        assert session.scalar(text("SELECT count(*) FROM privacy_request")) == 0
    shift_clock(timedelta(seconds=11))
    assert erase(house, ann).status == "erased"


def test_without_the_password_only_staff_may_and_it_is_noted_who(house, ann):
    assert code_of(house.users(ann).request_erasure, ann.customer_id, key="k") == "users.bad_credentials"
    bob = Caller(customer_id="bob", roles=("customer",))
    assert code_of(house.users(bob).request_erasure, ann.customer_id, PASSWORD, key="k") == "users.not_found"
    request = house.users(STAFF).request_erasure(ann.customer_id, None, "by letter of Annabel Lee", key="k")
    assert ended(house, request).status == "erased"
    with house.databases["users"].read() as session:
        assert session.execute(text("SELECT author, reason FROM privacy_request")).all() == [("sam", "")]


def test_no_password_is_kept_and_the_same_key_answers_the_same_erasure(house, ann):
    request = erase(house, ann, key="k")
    with house.databases["users"].read() as session:
        (kept,) = session.execute(select(inbox))
    assert kept.input_hash == hash_of([None, ann.customer_id])
    assert house.users(ann).request_erasure(ann.customer_id, "whatever", key="k") == request


def test_a_second_erasure_waits_for_the_end_of_the_first(house, ann):
    house.script["carts.begin_erasure"] = OutcomeUnknown("carts", "it did not answer in time")
    first = house.users(ann).request_erasure(ann.customer_id, PASSWORD, key="k")
    house.sagas.pool.waitall()
    with pytest.raises(ServiceError) as refusal:
        house.users(ann).request_erasure(ann.customer_id, PASSWORD, key="k2")
    assert (refusal.value.code, refusal.value.details) == ("privacy.in_progress", {"id": first.id})


def test_an_erasure_is_told_to_whoever_has_its_id(house, ann):
    request = erase(house, ann)
    assert house.users(Caller()).privacy_request(request.id) == request
    assert code_of(house.users(Caller()).export_document, request.id) == "privacy.not_found"
    shift_clock(KEPT + timedelta(days=400))
    house.users().sweep()
    assert house.users(Caller()).privacy_request(request.id).status == "erased"
