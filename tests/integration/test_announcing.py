"""Who is there, over a real broker: what instances tell, what the broker shows, and what the registry makes of both.

Once with the broker's management API, once without: then strangers, bindings and unacknowledged messages are not seen.
"""

import os
import time
from typing import Any, Protocol
from urllib.parse import quote

import eventlet
import httpx
import kombu
import msgspec
import pytest
import urllib3
from nameko.containers import ServiceContainer
from nameko.exceptions import UnknownService
from nameko.rpc import rpc as stock_rpc
from nameko.standalone.rpc import ServiceRpcProxy
from nameko.testing.utils import find_free_port

from chassis.announcing import EXCHANGE, KEY, Announcer
from chassis.container import Container
from chassis.context import Call
from chassis.described import promised
from chassis.provide import provided
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.types import api
from contracts.catalogue import CONTRACTS
from gateway import GatewayService
from services.inventory.service import InventoryService
from services.registry import findings
from services.registry.service import RegistryService, Watching
from services.users.service import UsersService
from tests.registry import telling
from tests.sandboxes import wait_until

EVERY_S, LOOK_S, SUSPECT_BEATS, GONE_BEATS = 0.3, 0.1, 3, 8
BOUND_S = SUSPECT_BEATS * EVERY_S + LOOK_S
LATE_S = 2.0
"""What a busy machine may add to any of these times."""


@api("work")
class WorkApi(Protocol):
    def do(self, job: int) -> int:
        """It works."""
        ...


@api("work")
class NextWorkApi(Protocol):
    def do(self, job: int, slowly: bool = False) -> int:
        """It works, and may do so slowly."""
        ...


class WorkService:
    name = "work"
    call = provided(Call, CallContext(WorkApi))

    @rpc
    def do(self, job: int) -> int:
        return job


class NextWorkService:
    name = "work"
    call = provided(Call, CallContext(NextWorkApi))

    @rpc
    def do(self, job: int, slowly: bool = False) -> int:
        return job


class PaintService:
    """Another one's, of the same name."""

    name = "work"
    call = provided(Call, CallContext())

    @rpc
    def paint(self) -> str:
        return "red"


class StrangerService:
    """A stock nameko service: it knows nothing of Rialto."""

    name = "stranger"

    @stock_rpc
    def ping(self) -> str:
        return "pong"


class Registry:
    """A running one, as an operator asks it."""

    def __init__(self, rpc_: Any) -> None:
        self.rpc = rpc_

    def overview(self) -> Any:
        return self.rpc.overview()

    def service(self, name: str) -> Any:
        found = [each for each in self.overview()["services"] if each["name"] == name]
        return found[0] if found else None

    def m(self, name: str) -> int:
        service = self.service(name)
        return service["m"] if service else 0

    def states(self, name: str) -> list[str]:
        service = self.service(name)
        return sorted(each["state"] for each in service["instances"]) if service else []

    def happened(self, name: str) -> list[str]:
        return [each["what"] for each in self.rpc.events(0, 500)["items"] if each["service"] == name]

    def codes(self, name: str) -> list[str]:
        return sorted(each["code"] for each in self.overview()["findings"] if each["service"] == name)


@pytest.fixture
def settings(migrated_config):
    migrated_config.update(
        announce_every_ms=round(EVERY_S * 1000),
        registry_look_s=LOOK_S,
        registry_broker_s=0.2,
        registry_suspect_beats=SUSPECT_BEATS,
        registry_gone_beats=GONE_BEATS,
    )
    return migrated_config


@pytest.fixture
def start(container_factory, settings):
    def run(service=WorkService, **more):
        container = container_factory(service, {**settings, **more})
        container.start()
        return container

    return run


@pytest.fixture(params=["management", "amqp"])
def source(request):
    """Where the registry's knowledge of queues comes from."""
    return request.param


@pytest.fixture
def run_registry(start, source):
    uri = os.environ["RABBIT_CTL_URI"] if source == "management" else ""
    return lambda: start(RegistryService, management_uri=uri)


@pytest.fixture
def registry(run_registry, settings):
    run_registry()
    with ServiceRpcProxy("registry", settings, timeout=20) as proxy:
        yield Registry(proxy)


managed = pytest.mark.parametrize("source", ["management"], indirect=True)
"""What the broker tells by its management API alone."""


def announcer_of(container):
    return next(each for each in container.extensions if isinstance(each, Announcer))


def id_of(container):
    return announcer_of(container).id


def s_until(condition, limit_s=20.0):
    """How long it took until this was so."""
    begun = time.monotonic()
    wait_until(condition, limit_s)
    return time.monotonic() - begun


# --- coming and leaving


def test_an_instance_is_announced_when_it_starts_with_what_it_is(registry, start, source):
    container = start()
    assert s_until(lambda: registry.m("work") == 1) < EVERY_S + LATE_S
    (instance,) = registry.service("work")["instances"]
    assert (instance["id"], instance["state"], instance["pid"]) == (id_of(container), "up", os.getpid())
    assert (instance["workers"], instance["prefetch"], instance["version"]) == (20, 20, "0.1.0")
    assert len(instance["contract"]) == 12
    wait_until(lambda: registry.service("work")["queue"]["consumers"] == 1)
    work = registry.service("work")
    assert (work["methods"], work["sagas"], work["stranger"]) == (["do"], [], False)
    assert registry.overview()["queues_from"] == source


def test_it_is_heard_again_at_every_beat(registry, start):
    start()
    wait_until(lambda: registry.m("work") == 1)
    first = registry.service("work")["instances"][0]["seen_at"]
    assert s_until(lambda: registry.service("work")["instances"][0]["seen_at"] > first) < EVERY_S + LATE_S
    assert registry.happened("work") == ["up"]


def test_one_that_is_told_to_stop_drains_and_leaves_and_both_are_told_at_once(registry, start):
    staying, leaving = start(), start()
    wait_until(lambda: registry.m("work") == 2)
    draining = announcer_of(leaving)
    told_at = []
    stop = eventlet.spawn(leaving.stop)
    wait_until(lambda: "draining" in registry.happened("work") and told_at.append(time.monotonic()) is None)
    stop.wait()
    assert s_until(lambda: registry.m("work") == 1) < LATE_S
    assert registry.happened("work") == ["up", "up", "draining", "left"]
    assert [each["id"] for each in registry.service("work")["instances"]] == [id_of(staying)]
    draining.container_leaves()  # after the last word nothing more is said
    leaving.stop()
    start()
    wait_until(lambda: registry.m("work") == 2)
    assert registry.happened("work") == ["up", "up", "draining", "left", "up"]


def test_one_that_drains_counts_and_takes_nothing_until_it_has_left(registry, start, settings):
    class SlowService(WorkService):
        name = "slow"
        gate = eventlet.Event()
        begun: list[int] = []

        @rpc
        def do(self, job: int) -> int:
            self.begun.append(job)
            self.gate.wait()
            return job

    container = start(SlowService)
    with ServiceRpcProxy("slow", settings, timeout=30) as proxy:
        reply = proxy.do.call_async(7)
        wait_until(lambda: SlowService.begun == [7])
        stop = eventlet.spawn(container.stop)
        wait_until(lambda: registry.states("slow") == ["draining"])
        assert registry.m("slow") == 1
        wait_until(lambda: registry.service("slow")["queue"]["consumers"] == 0)
        SlowService.gate.send()
        stop.wait()
        assert reply.result() == 7
    wait_until(lambda: registry.service("slow") is None)


# --- dying


def test_one_that_dies_is_suspect_within_the_bound_and_then_gone(registry, start):
    dead = start()
    start()
    wait_until(lambda: registry.states("work") == ["up", "up"])
    overview = registry.overview()
    assert overview["bound_s"] == pytest.approx(BOUND_S)
    dead.kill()
    assert s_until(lambda: registry.m("work") == 1) < BOUND_S + LATE_S
    assert registry.states("work") == ["suspect", "up"]
    assert registry.codes("work") == ["suspect"]
    assert s_until(lambda: registry.states("work") == ["up"]) < GONE_BEATS * EVERY_S + LATE_S
    assert registry.happened("work") == ["up", "up", "suspect", "gone"]
    assert registry.codes("work") == []


def test_one_that_falls_silent_and_speaks_again_is_back(registry, start):
    container = start()
    wait_until(lambda: registry.m("work") == 1)
    announcer_of(container).kill()
    wait_until(lambda: registry.states("work") == ["suspect"])
    announcer_of(container).start()
    wait_until(lambda: registry.states("work") == ["up"])
    assert registry.happened("work") == ["up", "suspect", "back"]


def test_a_service_of_which_only_a_silent_instance_reads_the_queue_is_an_error(registry, start):
    container = start(InventoryService)
    wait_until(lambda: registry.m("inventory") == 1 and registry.codes("inventory") == [])
    announcer_of(container).kill()
    wait_until(lambda: registry.states("inventory") == [])
    inventory = registry.service("inventory")
    assert (inventory["m"], inventory["stranger"], inventory["queue"]["consumers"]) == (0, False, 1)
    assert "no_instance" in registry.codes("inventory")


# --- the figures


def test_the_figures_are_those_of_what_was_started(registry, start):
    start(InventoryService)
    start(InventoryService)
    start()
    wait_until(lambda: all(registry.service(name)["methods"] for name in ("inventory", "registry")))
    wait_until(lambda: registry.m("work") == 1 and registry.m("inventory") == 2)
    registered = sum(len(promised(CONTRACTS[name])) for name in ("inventory", "registry"))
    model = registry.overview()["model"]
    assert model == {"n": 14, "M": 4, "R": 255, "R_register": registered + 1, "P": 0, "T": 0}
    assert [registry.m(name) for name in ("inventory", "registry", "work", "orders")] == [2, 1, 1, 0]


def test_a_service_without_an_instance_is_an_error_until_it_has_one(registry, start):
    wait_until(lambda: registry.codes("inventory") == ["no_instance"])
    start(InventoryService)
    wait_until(lambda: registry.codes("inventory") == [])


def test_a_service_is_described_with_how_its_calls_went(registry, start, settings):
    start(InventoryService)
    with ServiceRpcProxy("inventory", settings, timeout=10) as inventory:
        before = {each["name"]: each for each in registry.rpc.describe("inventory")["methods"]}["audit"]["ok"]
        inventory.audit()
    wait_until(
        lambda: {each["name"]: each for each in registry.rpc.describe("inventory")["methods"]}["audit"]["ok"] > before
    )
    told = registry.rpc.describe("inventory")
    (of_one,) = told["settings"]
    assert of_one["settings"]["announce_every_ms"] == 300
    assert of_one["settings"]["acquirer_hook_secret"] == "***"


# --- a registry that is killed, or does not run


THREE = ("work", "inventory", "registry")


def test_a_registry_that_is_started_anew_knows_all_within_one_interval(run_registry, start, settings):
    first = run_registry()
    others = [start(), start(), start(InventoryService)]
    with ServiceRpcProxy("registry", settings, timeout=20) as proxy:
        registry = Registry(proxy)
        wait_until(lambda: [registry.happened(name) for name in THREE] == [["up", "up"], ["up"], ["up"]])
    first.kill()
    others.pop(0).kill()  # nobody hears that
    run_registry()
    with ServiceRpcProxy("registry", settings, timeout=20) as proxy:
        registry = Registry(proxy)
        assert s_until(lambda: (registry.m("work"), registry.m("inventory")) == (1, 1)) < EVERY_S + LATE_S
        wait_until(lambda: "gone" in registry.happened("work"))
        assert registry.happened("work") == ["up", "up", "gone"]
        assert registry.happened("inventory") == ["up"]
        wait_until(lambda: registry.happened("registry") == ["up", "up", "gone"])


def test_two_registries_tell_the_same_and_note_everything_once(run_registry, start, settings):
    for _ in range(2):
        run_registry()
    container, other = start(), start()
    with ServiceRpcProxy("registry", settings, timeout=20) as proxy:
        registry = Registry(proxy)
        for _ in range(4):  # each of them is asked
            wait_until(lambda: registry.overview()["model"]["M"] == 4)
        container.stop()
        other.kill()
        wait_until(lambda: "gone" in registry.happened("work"))
        wait_until(lambda: registry.overview()["model"]["M"] == 2)
        assert sorted(registry.happened("work")) == ["draining", "gone", "left", "suspect", "up", "up"]


def test_the_shop_sells_without_a_registry(shop):
    with pytest.raises(UnknownService), ServiceRpcProxy("registry", shop.config, timeout=2) as registry:
        registry.overview()
    shop.sell("LAMP-1", 1999, stock=1)
    order = shop.ended(shop.place(shop.customer(("LAMP-1", 1)))["id"])
    assert order["status"] == "confirmed"


def test_a_registry_that_is_not_ready_takes_nothing_and_hears_everybody_when_it_is(
    start, source, settings, monkeypatch
):
    starting, go = eventlet.Event(), eventlet.Event()
    real = Watching.start

    def slow(self):
        starting.send()
        go.wait()
        real(self)

    monkeypatch.setattr(Watching, "start", slow)
    start()
    registry = Container(RegistryService, {**settings, "management_uri": ""})
    thread = eventlet.spawn(registry.start)
    starting.wait()
    watch = next(each for each in registry.extensions if isinstance(each, Watching)).watch
    assert watch.census.of("work") == []
    go.send()
    thread.wait()
    wait_until(lambda: watch.census.of("work"))
    assert not registry._died.ready()
    registry.kill()


# --- strangers, clashes, two contracts


@managed
def test_a_stock_nameko_service_appears_as_a_stranger_with_its_consumers(registry, settings):
    strangers = [ServiceContainer(StrangerService, {"AMQP_URI": settings["AMQP_URI"]}) for _ in range(2)]
    for each in strangers:
        each.start()
    wait_until(lambda: registry.m("stranger") == 2)
    found = registry.service("stranger")
    assert (found["stranger"], found["instances"], found["methods"]) == (True, [], [])
    assert found["queue"]["consumers"] == 2
    assert registry.rpc.describe("stranger")["methods"] == []
    strangers[0].stop()
    wait_until(lambda: registry.m("stranger") == 1)
    strangers[1].stop()
    wait_until(lambda: registry.service("stranger") is None)


def test_a_stranger_in_the_place_of_a_service_that_is_promised_is_seen_either_way(registry, settings):
    class Inventory(StrangerService):
        name = "inventory"

    stranger = ServiceContainer(Inventory, {"AMQP_URI": settings["AMQP_URI"]})
    stranger.start()
    wait_until(lambda: registry.m("inventory") == 1)
    assert registry.service("inventory")["stranger"]
    assert registry.codes("inventory") == []
    stranger.stop()


def test_a_reader_of_a_queue_who_does_not_announce_itself_is_found(registry, start, settings, monkeypatch):
    class Work(StrangerService):
        name = "work"

    monkeypatch.setattr(findings, "STEADY_S", 1.0)
    start()
    stranger = ServiceContainer(Work, {"AMQP_URI": settings["AMQP_URI"]})
    stranger.start()
    wait_until(lambda: registry.codes("work") == ["unannounced"])
    stranger.stop()
    wait_until(lambda: registry.codes("work") == [])


def test_two_contracts_at_work_are_found_and_both_serve(registry, start, settings):
    old = start(WorkService)
    start(NextWorkService)
    wait_until(lambda: registry.codes("work") == ["contracts_differ"])
    assert len({each["contract"] for each in registry.service("work")["instances"]}) == 2
    with ServiceRpcProxy("work", settings, timeout=10) as work:
        assert [work.do(job) for job in range(4)] == [0, 1, 2, 3]
    old.stop()
    wait_until(lambda: registry.codes("work") == [])


def test_names_that_clash_are_found(registry, start):
    start(WorkService)
    start(PaintService)
    wait_until(lambda: "name_clash" in registry.codes("work"))
    assert registry.service("work")["methods"] == ["do", "paint"]


def test_instances_with_different_settings_are_found(registry, start):
    start()
    start(max_workers=3)
    wait_until(lambda: registry.codes("work") == ["settings_differ"])
    assert sorted(each["prefetch"] for each in registry.service("work")["instances"]) == [3, 20]


# --- what the broker shows


def delete_binding(settings, exchange, queue, key):
    vhost = quote(settings["vhost"], safe="")
    path = f"/api/bindings/{vhost}/e/{exchange}/q/{queue}/{quote(key, safe='').replace('.', '%2E')}"
    uri = urllib3.util.parse_url(os.environ["RABBIT_CTL_URI"])
    with urllib3.PoolManager() as http:
        headers = urllib3.make_headers(basic_auth=uri.auth)
        answer = http.request("DELETE", f"http://{uri.host}:{uri.port}{path}", headers=headers)
    assert answer.status == 204, answer.data


@managed
def test_a_binding_that_the_broker_forgot_is_found_and_a_new_instance_mends_it(registry, start, settings, monkeypatch):
    monkeypatch.setattr(findings, "DECLARED_S", 0.5)
    start()
    wait_until(lambda: registry.m("work") == 1)
    assert registry.codes("work") == []
    delete_binding(settings, "nameko-rpc", "rpc-work", "work.*")
    wait_until(lambda: registry.codes("work") == ["binding_lost"])
    start()
    wait_until(lambda: registry.codes("work") == [])


def test_a_queue_that_only_another_one_may_read_blinds_nobody(registry, start, settings):
    with kombu.Connection(settings["AMQP_URI"]) as connection, connection.channel() as channel:
        channel.queue_declare("rpc-mine-alone", exclusive=True)
        start()
        wait_until(lambda: registry.m("work") == 1 and registry.service("work")["queue"]["consumers"] == 1)


def test_a_registry_whose_management_api_is_away_sees_what_amqp_tells(start, settings):
    start(RegistryService, management_uri="http://guest:guest@127.0.0.1:9")
    start()
    with ServiceRpcProxy("registry", settings, timeout=20) as proxy:
        registry = Registry(proxy)
        wait_until(lambda: registry.m("work") == 1 and registry.service("work")["queue"]["consumers"] == 1)
        assert registry.overview()["queues_from"] == "amqp"


@managed
def test_a_queue_tells_of_messages_that_wait_and_of_those_at_work(registry, settings):
    with kombu.Connection(settings["AMQP_URI"]) as connection, connection.channel() as channel:
        channel.queue_declare("rpc-inventory", durable=True, auto_delete=False)
        for _ in range(3):
            channel.basic_publish(channel.prepare_message(b"{}"), exchange="", routing_key="rpc-inventory")
        wait_until(lambda: registry.service("inventory")["queue"]["ready"] == 3)
        channel.basic_get("rpc-inventory")
        wait_until(lambda: registry.service("inventory")["queue"] == {"ready": 2, "unacked": 1, "consumers": 0})


# --- what makes no sense

NONSENSE: list[Any] = [
    b"",
    b"[]",
    b"{}",
    b'"hello"',
    b"\xff",
    b'{"service": "work"}',
    *(
        msgspec.json.encode({**msgspec.to_builtins(telling("work", "w1")), **wrong})
        for wrong in (
            {"service": ""},
            {"service": "x" * 101},
            {"service": "a\0b"},
            {"id": "x" * 65},
            {"host": "x" * 256},
            {"beat": 2**63},
            {"beat": -1},
            {"pid": -1},
            {"every_ms": 0},
            {"every_ms": 10**9},
            {"state": "asleep"},
            {"started_at": "2024-02-29T12:00:00"},
            {"methods": [{"name": 5}]},
        )
    ),
]


def announce(settings, *bodies):
    with kombu.Connection(settings["AMQP_URI"]) as connection, connection.channel() as channel:
        for body in bodies:
            message = channel.prepare_message(body, content_type="application/json", content_encoding="utf-8")
            channel.basic_publish(message, exchange=EXCHANGE, routing_key=KEY)


def test_an_announcement_that_makes_no_sense_harms_nobody(registry, settings):
    sense = msgspec.json.encode({**msgspec.to_builtins(telling("work", "w2")), "nobody_knows_this": 1})
    announce(settings, *NONSENSE, sense)
    wait_until(lambda: registry.m("work") == 1)
    (instance,) = registry.service("work")["instances"]
    assert instance["id"] == "w2"
    assert registry.happened("work") == ["up"]


def test_a_beat_that_comes_after_the_last_word_brings_nobody_back(registry, settings):
    told = [telling("work", "w1", beat=beat, state=state) for beat, state in ((1, "up"), (3, "left"), (2, "up"))]
    announce(settings, *map(msgspec.json.encode, [*told, telling("work", "w2")]))
    wait_until(lambda: registry.m("work") == 1)
    assert [each["id"] for each in registry.service("work")["instances"]] == ["w2"]
    assert registry.happened("work") == ["up", "left", "up"]


# --- over HTTP


@pytest.fixture
def gateway(start, settings):
    """The gateway's address; users run too, so that an operator can log in."""
    address = f"127.0.0.1:{find_free_port()}"
    settings.update(WEB_SERVER_ADDRESS=address, operator_password="operator-password")
    start(UsersService)
    start(GatewayService)
    return f"http://{address}"


def get(gateway, path, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = httpx.get(gateway + path, headers=headers, timeout=20)
    return answer.status_code, answer.json()


def token_of(gateway, email, password):
    answer = httpx.post(f"{gateway}/v1/sessions", json={"email": email, "password": password}, timeout=20)
    return answer.json()["access_token"]


@pytest.fixture
def operator(gateway):
    return token_of(gateway, "operator@rialto.example", "operator-password")


def test_operators_are_told_over_http(gateway, operator, registry, start):
    start()
    wait_until(lambda: registry.m("work") == registry.m("users") == 1)
    status, told = get(gateway, "/v1/registry", operator)
    work = next(each for each in told["services"] if each["name"] == "work")
    assert (status, work["m"], work["instances"][0]["state"]) == (200, 1, "up")
    assert set(told["model"]) == {"n", "M", "R", "R_register", "P", "T"}
    status, told = get(gateway, "/v1/registry/users", operator)
    assert (status, told["service"]["name"], len(told["methods"])) == (200, "users", len(promised(CONTRACTS["users"])))
    assert told["settings"][0]["settings"]["operator_password"] == "***"
    assert get(gateway, "/v1/registry/prometheus", operator) == (200, [])
    status, page = get(gateway, "/v1/registry/events?limit=2", operator)
    assert (status, len(page["items"])) == (200, 2)
    _, rest = get(gateway, f"/v1/registry/events?after={page['next_after']}", operator)
    assert [each["id"] for each in rest["items"]] == sorted(each["id"] for each in rest["items"])
    assert rest["items"][0]["id"] > page["next_after"]
    assert get(gateway, "/v1/registry/nobody", operator)[0] == 404


@pytest.mark.parametrize("source", ["amqp"], indirect=True)
def test_nobody_else_is(gateway, registry):
    body = {"email": "ada@rialto.example", "password": "a-long-password", "name": "Ada"}
    assert httpx.post(f"{gateway}/v1/users", json=body, timeout=20).status_code == 201
    customer = token_of(gateway, body["email"], body["password"])
    for path in ("", "/users", "/events", "/prometheus"):
        assert get(gateway, f"/v1/registry{path}")[0] == 401
        assert get(gateway, f"/v1/registry{path}", customer)[0] == 403


def test_without_a_registry_its_routes_say_so_and_all_others_work(gateway, operator):
    status, problem = get(gateway, "/v1/registry", operator)
    assert status == 503
    assert "registry" in problem["detail"]
    assert get(gateway, "/v1/me", operator)[0] == 200
