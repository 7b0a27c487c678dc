"""registry on a real database: what happened is noted once, whoever sees it, and told to operators alone."""

from collections import Counter
from datetime import timedelta

import msgspec
import pytest
import yaml
from nameko.testing.services import worker_factory
from sqlalchemy import select

from chassis.announcement import Announcement, Tally
from chassis.announcing import facts_of
from chassis.container import Container
from chassis.context import Call
from chassis.db import Sessions, WorkerDatabase, new_engine, shift_clock
from chassis.described import fingerprint, promised
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.types import Caller
from contracts.catalogue import CONTRACTS
from contracts.registry import Finding, Model, Overview, Target
from gateway import GatewayService
from services.registry import store
from services.registry.domain import QueueState, Sight
from services.registry.models import Happened
from services.registry.service import RegistryService, RegistrySettings, Watch
from tests.conftest import ROOT
from tests.contract.services import SERVICES, api, service_class
from tests.registry import EVERY_S, GONE_AFTER_S, NOON, SUSPECT_AFTER_S, telling

SETTINGS = RegistrySettings(
    announce_every_ms=round(EVERY_S * 1000),
    management_uri=None,
    management_timeout_ms=1000,
    registry_look_s=1,
    registry_broker_s=2,
    registry_suspect_beats=3,
    registry_gone_beats=8,
    registry_growing_s=30,
    registry_keep_s=86_400,
)
ANNA = Caller(customer_id="anna", roles=("customer",))
STAFF = Caller(customer_id="sam", roles=("customer", "staff"))
OPERATOR = Caller(customer_id="olga", roles=("customer", "operator"))


class Clock:
    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


class FakeBroker:
    """What there is to see at a broker."""

    def __init__(self, sight):
        self.sight = sight

    def look(self, services):
        return self.sight


class Registry:
    """One instance of it: a watch of its own, on a database that it may share."""

    def __init__(self, database, clock):
        self.clock = clock
        self.watch = Watch(SETTINGS, "pyamqp://127.0.0.1/", clock)
        self.watch.broker = FakeBroker(Sight("amqp", {}))
        self.service = self.asked_by(None, database)
        with database.read() as session:
            self.watch.census.remember(store.unended(session))

    def asked_by(self, caller, database=None):
        return worker_factory(
            RegistryService,
            call=Call(trace_id="t", caller=caller),
            db=database or self.service.db,
            settings=SETTINGS,
            watch=self.watch,
        )

    def hear(self, *told):
        for each in told:
            self.service.on_announced(each)
        return self

    def look(self, after_s=0.0):
        self.clock.at += after_s
        self.service.look()
        return self

    def happened(self, after=0, limit=100):
        """(service, instance, what) of each event."""
        return [(each.service, each.instance, each.what) for each in self.service.events(after, limit).items]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def databases(database_uri):
    """WorkerDatabases on one database, as instances have them."""
    uri, opened = database_uri("registry"), []

    def open_one():
        engine = new_engine(uri, pool_size=2)
        opened.append((engine, WorkerDatabase(Sessions(engine).factory)))
        return opened[-1][1]

    yield open_one
    for engine, database in opened:
        database.close()
        engine.dispose()


@pytest.fixture
def registry(databases, clock):
    return Registry(databases(), clock)


def code_of(call):
    with pytest.raises(ServiceError) as refused:
        call()
    return refused.value.code


# --- what happened


def test_what_happens_to_an_instance_is_noted_in_its_order(registry):
    registry.hear(telling(beat=1), telling("users", "u1"), telling(beat=2, state="draining"))
    registry.hear(telling(beat=3, state="left"))
    registry.look(SUSPECT_AFTER_S + 0.1).hear(telling("users", "u1", beat=2)).look(GONE_AFTER_S + 0.1).look(1)
    assert registry.happened() == [
        ("orders", "o1", "up"),
        ("users", "u1", "up"),
        ("orders", "o1", "draining"),
        ("orders", "o1", "left"),
        ("users", "u1", "suspect"),
        ("users", "u1", "back"),
        ("users", "u1", "suspect"),
        ("users", "u1", "gone"),
    ]


def test_beats_that_are_no_news_are_not_noted(registry):
    registry.hear(*(telling(beat=beat) for beat in range(1, 50))).look()
    assert registry.happened() == [("orders", "o1", "up")]


def test_an_event_says_who_it_was_where_and_when(registry):
    registry.hear(telling(host="host-a", pid=4711))
    (event,) = registry.service.events().items
    assert (event.service, event.instance, event.what, event.host, event.pid) == ("orders", "o1", "up", "host-a", 4711)
    with registry.service.db.read() as session:
        assert event.at == session.scalar(select(Happened.at))
        assert session.scalar(select(Happened.beat)) == 1


def test_each_happening_is_noted_once_however_many_registries_see_it(databases, clock):
    registries = [Registry(databases(), clock) for _ in range(3)]
    for told in (telling(beat=1), telling(beat=2, state="draining"), telling(beat=3, state="left")):
        for registry in registries:
            registry.hear(told)
    for registry in registries:
        registry.hear(telling("users", "u1"))
    clock.at += SUSPECT_AFTER_S + 0.1
    for registry in registries:
        registry.look()
    for registry in registries:
        registry.hear(telling("users", "u1", beat=2))
    assert registries[0].happened() == [
        ("orders", "o1", "up"),
        ("orders", "o1", "draining"),
        ("orders", "o1", "left"),
        ("users", "u1", "up"),
        ("users", "u1", "suspect"),
        ("users", "u1", "back"),
    ]


def test_so_it_is_when_they_notice_it_at_different_beats_and_times(databases, clock):
    one, other = Registry(databases(), clock), Registry(databases(), clock)
    one.hear(telling(beat=1))
    other.hear(telling(beat=2))  # its queue was there a moment later
    one.hear(telling(beat=3))
    one.look(SUSPECT_AFTER_S + 0.1)
    other.look()
    other.hear(telling(beat=5))
    one.hear(telling(beat=6))
    one.hear(telling(beat=7, state="draining"))
    other.hear(telling(beat=8, state="draining"))
    one.hear(telling(beat=9, state="left"))
    other.look(SUSPECT_AFTER_S + 0.1)  # the last word did not reach it
    other.look(GONE_AFTER_S)
    assert [what for _, _, what in one.happened()] == ["up", "suspect", "back", "draining", "left"]


def test_one_that_is_slow_to_say_what_the_other_said_already_says_nothing(databases, clock):
    one, slow = Registry(databases(), clock), Registry(databases(), clock)
    for registry in (one, slow):
        registry.hear(telling(beat=1))
    one.look(SUSPECT_AFTER_S + 0.1).hear(telling(beat=2))
    slow.look()
    assert [what for _, _, what in one.happened()] == ["up", "suspect", "back"]


def test_what_could_not_be_written_is_written_when_the_database_takes_it_again(registry, monkeypatch):
    with monkeypatch.context() as locked:

        def refuse(session, changes):
            raise OutcomeUnknown("database", "it stayed locked by another writer")

        locked.setattr(store, "note", refuse)
        registry.hear(telling(), telling("users", "u1"))
        assert registry.service.overview().model.M == 2  # it answers all the same
    assert registry.happened() == []
    registry.hear(telling(beat=2))  # which is no news itself
    assert registry.happened() == [("orders", "o1", "up"), ("users", "u1", "up")]
    registry.look()
    assert len(registry.happened()) == 2


# --- told page by page


def test_events_are_told_after_an_id_and_at_most_so_many(registry):
    registry.hear(*(telling(instance=f"o{number}") for number in range(5)))
    first = registry.service.events(limit=2)
    assert [each.instance for each in first.items] == ["o0", "o1"]
    second = registry.service.events(first.next_after, 100)
    assert [each.instance for each in second.items] == ["o2", "o3", "o4"]
    assert [each.id for each in second.items] == sorted(each.id for each in second.items)
    nothing_new = registry.service.events(second.next_after)
    assert (nothing_new.items, nothing_new.next_after) == ([], second.next_after)
    registry.hear(telling("users", "u1"))
    assert [each.instance for each in registry.service.events(second.next_after).items] == ["u1"]


@pytest.mark.parametrize(("after", "limit"), [(-1, 10), (2**53, 10), (0, 0), (0, 501)])
def test_a_page_that_cannot_be_is_refused(registry, after, limit):
    assert code_of(lambda: registry.service.events(after, limit)) == "request.invalid"


# --- only operators


@pytest.mark.parametrize("caller", [Caller(), ANNA, STAFF], ids=["nobody", "customer", "staff"])
def test_only_operators_are_told_anything(registry, caller):
    registry.hear(telling())
    asked = registry.asked_by(caller)
    for ask in (asked.overview, lambda: asked.describe("orders"), asked.events, asked.targets):
        assert code_of(ask) == "auth.forbidden"


@pytest.mark.parametrize("caller", [None, OPERATOR, Caller(service="gateway")], ids=["shell", "operator", "service"])
def test_operators_and_services_are(registry, caller):
    registry.hear(telling())
    asked = registry.asked_by(caller)
    assert isinstance(asked.overview(), Overview)
    assert asked.describe("orders").service.name == "orders"
    assert len(asked.events().items) == 1
    assert asked.targets() == []


# --- forgetting


def test_old_events_are_forgotten_and_ids_go_on(registry):
    registry.hear(telling(beat=1), telling(beat=2, state="left"))
    last = registry.service.events().next_after
    registry.service.forget()
    assert len(registry.happened()) == 2
    shift_clock(timedelta(days=1, seconds=1))
    registry.service.forget()
    assert registry.happened() == []
    registry.hear(telling("users", "u1"))
    assert [each.instance for each in registry.service.events(last).items] == ["u1"]


def test_who_has_not_ended_is_not_forgotten(registry, databases, clock):
    registry.hear(telling(beat=1), telling("users", "u1", beat=1), telling("users", "u1", beat=2, state="draining"))
    shift_clock(timedelta(days=60))
    registry.service.forget()
    assert registry.happened() == [("orders", "o1", "up"), ("users", "u1", "draining")]
    again = Registry(databases(), clock).hear(telling(beat=2), telling("users", "u1", beat=3, state="draining"))
    assert len(again.happened()) == 2


# --- a registry that is started anew


def test_a_registry_that_is_started_anew_goes_on_without_saying_anything_twice(registry, databases, clock):
    registry.hear(telling(beat=1), telling("users", "u1", beat=1), telling("carts", "c1", beat=1))
    registry.hear(telling("carts", "c1", beat=2, state="left"), telling("users", "u2", beat=1))
    registry.look(SUSPECT_AFTER_S + 0.1)
    before = registry.happened()
    clock.at += 10
    again = Registry(databases(), clock)
    assert set(again.watch.census.missed) == {"o1", "u1", "u2"}
    again.hear(telling(beat=9), telling("users", "u1", beat=9, state="draining"))
    assert again.happened()[len(before) :] == [
        ("orders", "o1", "back"),
        ("users", "u1", "back"),
        ("users", "u1", "draining"),
    ]
    assert {service.name: service.m for service in again.service.overview().services if service.m} == {
        "orders": 1,
        "users": 1,
    }


def test_who_ended_while_no_registry_ran_is_noted_as_gone(registry, databases, clock):
    registry.hear(telling(beat=1), telling("users", "u1", beat=1))
    again = Registry(databases(), clock)
    for beat in range(2, 12):
        again.hear(telling(beat=beat)).look(EVERY_S)
    assert again.happened()[2:] == [("users", "u1", "gone")]


# --- the whole


def announced(service, instance="", **more):
    """What an instance of ours tells, made of its code."""
    facts = facts_of(Container(service_class(service), CONFIG), api(service))
    said = dict(id=instance or f"{service}-1", state="up", beat=1, every_ms=2000, started_at=NOON)
    return Announcement(**{**facts, **said, "methods": [Tally(name=name) for name in promised(api(service))], **more})


CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def test_the_figures_are_those_of_what_runs(registry):
    registry.hear(*(announced(service) for service in SERVICES), announced("orders", "orders-2"))
    model = registry.service.overview().model
    methods = sum(len(promised(contract)) for contract in CONTRACTS.values())
    assert model == Model(n=13, M=14, R=methods, R_register=methods, P=21, T=55)
    assert methods == 255


def test_the_figures_follow_who_leaves(registry):
    registry.hear(*(announced(service) for service in SERVICES))
    full = registry.service.overview().model
    registry.hear(announced("orders", beat=2, state="draining"))
    assert registry.service.overview().model == full  # it still works
    registry.hear(announced("orders", beat=3, state="left"), announced("users", beat=2, state="left"))
    model = registry.service.overview().model
    assert (model.n, model.M, model.P, model.T) == (13, 11, 7, 11)
    gone = len(promised(api("orders"))) + len(promised(api("users")))
    assert (model.R, model.R_register) == (255, 255 - gone)


def test_two_versions_of_a_saga_are_two_definitions(registry):
    both = ["place_order/1", "place_order/2"]
    registry.hear(
        telling(sagas=both[:1], commands=["a.b"]), telling(instance="o2", sagas=both, commands=["a.b", "a.c"])
    )
    model = registry.service.overview().model
    assert (model.P, model.T) == (2, 2)


def test_without_the_broker_and_before_anybody_spoke_it_still_answers(registry):
    seen = registry.service.overview()
    assert [service.name for service in seen.services] == sorted(SERVICES)
    assert (seen.model.n, seen.model.M, seen.model.R_register, seen.findings) == (13, 0, 0, [])
    assert seen.queues_from == "none"


def see(registry, queues, source="management"):
    registry.watch.broker.sight = Sight(source, queues)
    registry.service.look_at_broker()
    return {service.name: service for service in registry.service.overview().services}


def test_a_stranger_is_counted_by_the_consumers_of_its_queue(registry):
    registry.hear(telling())
    found = see(registry, {"rpc-orders": QueueState(0, 1), "rpc-paint": QueueState(4, 2, 1), "other": QueueState(0, 9)})
    paint, orders = found["paint"], found["orders"]
    assert (paint.stranger, paint.m, paint.instances) == (True, 2, [])
    assert (paint.queue.ready, paint.queue.unacked, paint.queue.consumers) == (4, 1, 2)
    assert (orders.stranger, orders.m, orders.queue.unacked) == (False, 1, None)
    assert registry.service.overview().model.M == 3
    assert "other" not in found


def test_one_that_hangs_is_no_stranger(registry):
    registry.hear(telling())
    registry.look(SUSPECT_AFTER_S + 0.1).look(GONE_AFTER_S)
    orders = see(registry, {"rpc-orders": QueueState(0, 1)})["orders"]
    assert (orders.stranger, orders.m, orders.queue.consumers) == (False, 0, 1)


def test_a_queue_that_nobody_reads_makes_no_service(registry):
    assert "paint" not in see(registry, {"rpc-paint": QueueState(4, 0)})


def test_the_bound_is_that_of_the_slowest_who_is_there(registry):
    assert registry.service.overview().bound_s == 7.0
    registry.hear(telling(every_ms=10_000))
    assert registry.service.overview().bound_s == 31.0


def test_the_overview_tells_of_the_dead_without_waiting_for_the_next_look(registry):
    registry.hear(telling())
    registry.clock.at += SUSPECT_AFTER_S + 0.01
    (orders,) = [each for each in registry.service.overview().services if each.name == "orders"]
    assert (orders.m, [each.state for each in orders.instances]) == (0, ["suspect"])


def test_findings_are_told_with_the_whole_and_with_their_service(registry):
    registry.hear(telling(contract="a", methods=("place",)), telling(instance="o2", contract="b", methods=("place",)))
    found = Counter((each.severity, each.code, each.service) for each in registry.service.overview().findings)
    assert found["warning", "contracts_differ", "orders"] == 1
    told = registry.service.describe("orders").findings
    assert {each.service for each in told} == {"orders"}
    assert all(isinstance(each, Finding) for each in told)


# --- one service


def test_a_service_is_described_with_what_its_contract_says_and_how_it_goes(registry):
    tallies = [Tally(name="place", ok=3, refused=1, failed=1, ms=100), Tally(name="get", ok=2, ms=8)]
    registry.hear(
        announced("orders", methods=tallies),
        announced("orders", "orders-2", methods=[Tally(name="place", ok=5, ms=10), Tally(name="odd")]),
    )
    told = registry.service.describe("orders")
    methods = {each.name: each for each in told.methods}
    place, get, odd = methods["place"], methods["get"], methods["odd"]
    assert (place.ok, place.refused, place.failed, place.mean_ms) == (8, 1, 1, 11.0)
    assert (get.ok, get.mean_ms, odd.mean_ms) == (2, 4.0, None)
    assert place.arguments[0]["name"] == "customer_id"
    assert place.errors == sorted(promised(CONTRACTS["orders"])["place"].__refusals__)
    assert (place.command, get.command, odd.command) == (True, False, False)
    assert place.doc.startswith(promised(CONTRACTS["orders"])["place"].__doc__.strip()[:20])
    assert (odd.doc, odd.arguments, odd.result) == ("", [], {})
    referred = {"#/schemas/" + name for name in told.schemas}
    assert place.result["$ref"] in referred
    assert set(methods) == {*promised(CONTRACTS["orders"]), "odd"}


def test_a_stranger_is_described_by_what_is_known_of_it(registry):
    see(registry, {"rpc-paint": QueueState(0, 1)})
    told = registry.service.describe("paint")
    assert (told.methods, told.schemas, told.settings, told.service.stranger) == ([], {}, [], True)


def test_a_service_that_nobody_knows_is_refused(registry):
    assert code_of(lambda: registry.service.describe("nobody")) == "registry.unknown_service"


def test_contracts_are_told_apart_by_a_fingerprint_that_prose_does_not_change(registry):
    registry.hear(announced("carts"))
    (instance,) = registry.service.describe("carts").service.instances
    assert instance.contract == fingerprint(CONTRACTS["carts"])
    assert len({fingerprint(contract) for contract in CONTRACTS.values()}) == len(CONTRACTS)


# --- metrics


def test_the_addresses_of_metrics_have_the_form_of_http_service_discovery(registry):
    registry.hear(
        telling(instance="o2", metrics="127.0.0.1:9102", started_s=5),
        telling(instance="o1", metrics="127.0.0.1:9101"),
        telling("carts", "c1", metrics="127.0.0.1:9103", state="draining"),
        telling("users", "u1"),
    )
    assert registry.service.targets() == [
        Target(targets=[f"127.0.0.1:{port}"], labels={"service": service, "instance_id": instance, "version": "1"})
        for port, service, instance in ((9103, "carts", "c1"), (9101, "orders", "o1"), (9102, "orders", "o2"))
    ]
    registry.look(SUSPECT_AFTER_S + 0.1)
    assert registry.service.targets() == []


# --- secrets

SECRETS = {
    "AMQP_URI": "pyamqp://rialto:{}@127.0.0.1:5672/",
    "MANAGEMENT_URI": "http://rialto:{}@127.0.0.1:15672",
    "ACQUIRER_HOOK_SECRET": "{}",
    "CARRIER_HOOK_SECRET": "{}",
    "BANK_HOOK_SECRET": "{}",
    "OPERATOR_PASSWORD": "{}",
    "SUPPORT_MODEL_KEY": "{}",
    "SMTP_URL": "smtp://shop:{}@127.0.0.1:587",
    **{f"{service.upper()}_DB": "postgresql+psycopg2://me:{}@127.0.0.1/db?password={}" for service in SERVICES},
}


def secret(number):
    return f"open-sesame-{number}"


@pytest.fixture
def secretive(monkeypatch):
    """config.yaml with a recognisable secret in each place that can hold one."""
    for number, (name, form) in enumerate(SECRETS.items()):
        monkeypatch.setenv(name, form.format(*[secret(number)] * form.count("{}")))
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def test_the_secrets_of_the_next_test_are_all_that_config_yaml_has(secretive):
    raw = msgspec.json.encode({**secretive, "LOGGING": None}).decode()
    assert all(secret(number) in raw for number in range(len(SECRETS)))
    secretish = ("secret", "password", "token", "key")
    named = {name for name in secretive if name.endswith(secretish)}
    assert named == {"acquirer_hook_secret", "carrier_hook_secret", "bank_hook_secret", "operator_password"}


@pytest.mark.parametrize("service", [*SERVICES, "gateway"])
def test_no_secret_is_told_by_any_service(registry, secretive, service):
    kind = GatewayService if service == "gateway" else service_class(service)
    facts = facts_of(Container(kind, secretive), CONTRACTS.get(service))
    told = Announcement(**facts, id="i1", state="up", beat=1, every_ms=2000, started_at=NOON)
    registry.hear(told)
    shown = registry.service.describe(service)
    for value in (told, shown, registry.service.overview()):
        assert "open-sesame" not in msgspec.json.encode(value).decode()
    (of_one,) = shown.settings
    assert of_one.instance == "i1"
    assert of_one.settings["max_workers"] == 20
    assert of_one.settings["AMQP_URI"] == "pyamqp://***@127.0.0.1:5672/"
    assert list(of_one.settings.get("DB_URIS", {})) == ([] if service == "gateway" else [f"{service}:Base"])


def test_settings_that_differ_only_in_a_secret_have_another_digest(secretive):
    def digest(config):
        return facts_of(Container(service_class("users"), config), None)["settings_digest"]

    assert digest(secretive) == digest(dict(secretive))
    assert digest(secretive) != digest({**secretive, "operator_password": "another"})
    other_databases = {**secretive["DB_URIS"], "orders:Base": "sqlite:///elsewhere.db"}
    assert digest(secretive) == digest({**secretive, "DB_URIS": other_databases})
