"""Instances that come and go while the shop sells: `make scale`, `make restart`, kill, stop; what the registry says.

A system of its own, whose sagas have a lease of a minute: an order that waited for one would be seen to.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from scripts.plan import SERVICES
from scripts.processes import ROOT, free_port, stop, wait_until
from tests.children import dying, start
from tests.e2e.crowd import buying, require_that_the_books_agree
from tests.e2e.shopping import Customer, Desk
from tests.e2e.system import System

YESTERDAY = "140376a"
"""A commit before instances announced themselves: "Say once that all sagas ended"."""
LEASE_S = 60.0
SOON_S = 45.0  # an order under load on a busy machine; less than the lease
EVERY_S = 2.0  # announce_every_ms
LATE_S = 2.0  # what a busy machine may add
UNANNOUNCED_S = 10.0  # for so long the queue has to have a reader that says nothing
MANY_TURNS: list[dict[str, int]] = [
    {"orders": 3, "payments": 2, "inventory": 3},
    {"users": 2, "products": 2, "carts": 2, "orders": 4},
    {"shipping": 2, "notifications": 3, "risk": 2, "orders": 2},
    {"payments": 4, "inventory": 2, "orders": 3, "shipping": 3},
    {"orders": 4, "payments": 3, "carts": 3, "notifications": 2, "inventory": 4},
]
STEADY = dict.fromkeys((*SERVICES, "gateway"), 1)

View = dict[str, Any]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Running, with nothing on sale yet."""
    system = System(tmp_path_factory.mktemp("scaling"))
    (system.var / "run").mkdir()
    (system.var / "run/demo-data").touch()
    try:
        system.start(SAGA_LEASE_MS=f"{LEASE_S * 1000:.0f}")
        yield system
    finally:
        if system.process:
            system.stop()


@pytest.fixture(scope="module")
def staff(shop: System) -> Iterator[Desk]:
    with Desk(shop.url) as desk:
        desk.log_in(shop.env["OPERATOR_EMAIL"], shop.env["OPERATOR_PASSWORD"])
        yield desk


@pytest.fixture(scope="module")
def lamp(staff: Desk) -> str:
    """A sku with plenty of stock."""
    return staff.sell(100_000)


def make(shop: System, *words: str) -> str:
    """`make`, as somebody types it in another terminal; what it prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        dying("make", "-s", *words, signal="TERM"),
        cwd=ROOT,
        env={**env, "VAR": str(shop.var)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    print(done.stdout, end="")
    return done.stdout


# --- what the registry says


def registry(staff: Desk) -> View:
    view: View = staff.call("GET", "/v1/registry")
    return view


def service_of(view: View, name: str) -> View:
    found: View = next(each for each in view["services"] if each["name"] == name)
    return found


def instances(view: View) -> dict[str, View]:
    """Every instance by its id, with its service."""
    return {
        instance["id"]: {**instance, "service": each["name"]}
        for each in view["services"]
        for instance in each["instances"]
    }


def ids_of(view: View, service: str) -> dict[str, int]:
    """The ids of a service's instances that are up, with their pids."""
    return {each["id"]: each["pid"] for each in service_of(view, service)["instances"] if each["state"] == "up"}


def events(staff: Desk, after: int = 0) -> list[View]:
    """What happened after this id, page by page."""
    found: list[View] = []
    while page := staff.call("GET", f"/v1/registry/events?after={after}&limit=20")["items"]:
        found += page
        after = page[-1]["id"]
    return found


def story_of(staff: Desk, instance: str) -> list[str]:
    return [each["what"] for each in events(staff) if each["instance"] == instance]


def running(shop: System) -> set[tuple[str, int]]:
    """What was started, as the supervisor says."""
    return {(unit["service"], unit["pid"]) for unit in shop.status() if unit["metrics_port"]}


def require_figures(shop: System, staff: Desk, **counts: int) -> View:
    """That the registry soon knows exactly what was started; the view that says so."""
    wanted = {**STEADY, **counts}
    view: View = {}

    def exact() -> bool:
        view.clear()
        view.update(registry(staff))
        known = {(each["service"], each["pid"]) for each in instances(view).values() if each["state"] == "up"}
        readers = {each["name"]: each["queue"]["consumers"] for each in view["services"] if each["name"] != "gateway"}
        by_management = view["queues_from"] == "management"
        return by_management and known == running(shop) and readers == {name: wanted[name] for name in readers}

    assert wait_until(exact, 30), (view, running(shop))
    assert {each["name"]: each["m"] for each in view["services"]} == wanted
    assert view["model"]["M"] == sum(each["m"] for each in view["services"])
    assert [each for each in view["findings"] if each["severity"] == "error"] == []
    return view


def seconds_until(staff: Desk, is_true: Callable[[View], bool], since: float, bound_s: float) -> float:
    """When the first question was asked whose answer was true; none that is asked after the bound may get another."""
    while True:
        asked_s = time.monotonic() - since
        view = registry(staff)
        if is_true(view):
            return asked_s
        assert asked_s < bound_s, view
        time.sleep(0.05)


def counted(view: View, instance: str) -> bool:
    return instance in instances(view) and instances(view)[instance]["state"] == "up"


# --- figures


def test_the_figures_are_those_of_what_was_started_and_tell_the_truth_of_who_dies(shop: System, staff: Desk) -> None:
    begun = require_figures(shop, staff)
    assert (begun["queues_from"], begun["model"]["R"]) == ("management", begun["model"]["R_register"])
    make(shop, "scale", "orders=3", "inventory=2")
    view = require_figures(shop, staff, orders=3, inventory=2)
    assert view["model"]["M"] == begun["model"]["M"] + 3
    assert {**view["model"], "M": 0} == {**begun["model"], "M": 0}
    bound_s = view["bound_s"]
    # when one is killed, and one is stopped
    by_pid = {pid: instance for instance, pid in ids_of(view, "orders").items()}
    killed, stopped = by_pid[shop.pid("orders-2")], by_pid[shop.pid("orders-3")]
    process = psutil.Process(shop.pid("orders-3"))
    since = time.monotonic()
    process.send_signal(signal.SIGSTOP)
    shop.signal("orders-2", signal.SIGKILL)
    try:
        killed_s = seconds_until(staff, lambda view: not counted(view, killed), since, bound_s)
        stopped_s = seconds_until(staff, lambda view: not counted(view, stopped), since, bound_s)
        assert instances(registry(staff))[stopped]["state"] == "suspect"
    finally:
        process.send_signal(signal.SIGCONT)
    since = time.monotonic()
    back_s = seconds_until(staff, lambda view: counted(view, stopped), since, EVERY_S + LATE_S)
    print(
        f"bound {bound_s:g} s: a killed instance was not counted any more after {killed_s:.1f} s, "
        f"a stopped one suspect after {stopped_s:.1f} s, and back {back_s:.1f} s after it went on"
    )
    # and when the supervisor has started the killed one anew, and all but one leave
    view = require_figures(shop, staff, orders=3, inventory=2)
    (new,) = ids_of(view, "orders").keys() - set(by_pid.values())
    make(shop, "scale", "orders=1", "inventory=1")
    require_figures(shop, staff)
    assert story_of(staff, stopped) == ["up", "suspect", "back", "draining", "left"]
    assert story_of(staff, new) == ["up", "draining", "left"]
    assert [what for what in story_of(staff, killed) if what != "suspect"] == ["up", "gone"]


def test_what_cannot_be_scaled_is_said_in_one_sentence(shop: System) -> None:
    before = running(shop)
    for words, sentence in {
        ("to", "orders=2", "order=1"): "There is no service order to scale; there are: users, products,",
        ("to", "gateway=2"): "There is one gateway, which holds the shop's port: it cannot be scaled,",
        ("restart", "gateway"): "There is one gateway, which holds the shop's port: it cannot be scaled, nor replaced",
    }.items():
        argv = (sys.executable, "-m", "scripts.scale", *words)
        env = {**os.environ, "VAR": str(shop.var)}
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert done.stderr.startswith(sentence)
    assert running(shop) == before


# --- under load


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Three turns, or with --everything twenty."""
    if "turns" in metafunc.fixturenames:
        parts = MANY_TURNS if metafunc.config.getoption("--everything") else MANY_TURNS[:1]
        metafunc.parametrize("turns", parts, ids=["-".join(turn) for turn in parts])


def test_scaling_up_and_down_under_load_loses_and_doubles_nothing(
    shop: System, staff: Desk, lamp: str, tmp_path: Path, turns: dict[str, int]
) -> None:
    with buying(shop.url, lamp, tmp_path) as crowd:
        for service, count in turns.items():
            make(shop, "scale", f"{service}={count}")
            make(shop, "scale", f"{service}=1")
    crowd.require_good_ends(at_least=3 * len(turns), within_s=SOON_S)
    assert crowd.served_without_a_gap(), crowd.noted("trouble")
    require_that_the_books_agree(shop.var, crowd)
    staff.require_that_books_agree()
    require_figures(shop, staff)


def test_a_restart_under_load_replaces_every_instance_and_loses_nothing(
    shop: System, staff: Desk, lamp: str, tmp_path: Path
) -> None:
    make(shop, "scale", "orders=2")
    before = ids_of(require_figures(shop, staff, orders=2), "orders")
    with buying(shop.url, lamp, tmp_path) as crowd:
        said = make(shop, "restart", "SERVICE=orders")
    assert [line.partition(" (")[0] for line in said.splitlines()] == [
        "orders-3 has replaced orders-1",
        "orders-1 has replaced orders-2",
    ]
    crowd.require_good_ends(at_least=3, within_s=SOON_S)
    assert crowd.served_without_a_gap(), crowd.noted("trouble")
    after = ids_of(require_figures(shop, staff, orders=2), "orders")
    assert before.keys() & after.keys() == set()
    assert [story_of(staff, each)[-2:] for each in before] == [["draining", "left"]] * 2
    require_that_the_books_agree(shop.var, crowd)
    make(shop, "scale", "orders=1")


# --- parts that are away


def test_without_payments_what_needs_it_names_it_and_orders_go_on_when_it_is_back(
    shop: System, staff: Desk, lamp: str
) -> None:
    with Customer(shop.url) as customer:
        me = customer.call("GET", "/v1/me")["id"]
        make(shop, "scale", "payments=0")
        assert wait_until(lambda: shop.readiness()[0] == 503, 10)
        assert [name for name, answers in shop.readiness()[1].items() if not answers] == ["payments"]
        # what needs it is refused, and names it
        gift = {"customer_id": me, "amount": {"amount": 1000, "currency": "EUR"}}
        refused = staff.http.post("/v1/gift-cards", json=gift)
        assert (refused.status_code, refused.json()["code"]) == (503, "service.unavailable"), refused.text
        assert refused.json()["service"] == "payments"
        assert int(refused.headers["Retry-After"]) > 0
        # everything else works
        assert customer.call("GET", "/v1/products?limit=1")["items"] != []
        order_id = customer.order(lamp)
        assert customer.call("GET", "/v1/cart")["lines"] != []  # it is emptied when the order is paid
        assert wait_until(lambda: customer.passed(order_id, "reserve_stock"), 30)
        assert service_of(registry(staff), "payments")["m"] == 0

        def finding() -> str:
            found = [each for each in registry(staff)["findings"] if each["code"] == "no_instance"]
            return str(found[0]["text"]) if [each["service"] for each in found] == ["payments"] else ""

        # the broker counts its consumers every five seconds: until then it may count the one that left
        assert wait_until(lambda: finding().startswith("payments has no instance"), 15), finding()
        # and orders go on when it is back
        make(shop, "scale", "payments=1")
        assert customer.end_of(order_id)["status"] == "confirmed"
    shop.wait_ready()
    require_that_the_books_agree(shop.var)
    require_figures(shop, staff)


def test_the_shop_sells_without_a_registry_which_is_rebuilt_from_announcements(
    shop: System, staff: Desk, lamp: str
) -> None:
    before = require_figures(shop, staff)
    last = events(staff)[-1]["id"]
    (old,) = ids_of(before, "registry")
    # when it is killed, and stays away
    shop.signal("registry-1", signal.SIGKILL)
    make(shop, "scale", "registry=0")
    assert wait_until(lambda: staff.http.get("/v1/registry").status_code == 503, 10)
    assert staff.http.get("/v1/registry").json()["service"] == "registry"
    assert shop.readiness()[0] == 200
    with Customer(shop.url) as customer:
        assert customer.end_of(customer.order(lamp))["status"] == "confirmed"
    # and comes back
    make(shop, "scale", "registry=1")
    since, limit_s = time.monotonic(), EVERY_S + LATE_S
    others = instances(before).keys() - {old}
    took_s = seconds_until(staff, lambda view: all(counted(view, each) for each in others), since, limit_s)
    print(f"the registry knew all {len(others)} other instances {took_s:.1f} s after its start")
    require_figures(shop, staff)
    assert wait_until(lambda: story_of(staff, old)[-1] == "gone", 30)
    assert {each["service"] for each in events(staff, last)} == {"registry"}


def test_nobody_is_taken_for_gone_when_the_broker_is_started_anew(shop: System, staff: Desk, lamp: str) -> None:
    before = instances(require_figures(shop, staff))
    last = events(staff)[-1]["id"]
    first = shop.pid("broker")
    shop.signal("broker", signal.SIGKILL)
    assert wait_until(lambda: shop.pid("broker") != first, 30)
    shop.wait_ready()
    assert wait_until(lambda: staff.http.get("/v1/registry").is_success, 30)
    after = instances(require_figures(shop, staff))
    assert after.keys() == before.keys()
    assert {each["what"] for each in events(staff, last)} <= {"suspect", "back"}
    with Customer(shop.url) as customer:
        assert customer.end_of(customer.order(lamp))["status"] == "confirmed"


# --- others at the same broker


@contextmanager
def program(shop: System, folder: Path, config: Path, target: str, **env: str) -> Iterator[None]:
    """`nameko run` of code in a folder, with its own configuration; asked to end at the end."""
    argv = (sys.executable, "-W", "ignore", "-m", "nameko", "run", "--config", str(config), target)
    # its working folder is the project's, but Python looks for modules in the other one first
    with (shop.var / "log" / f"{target.partition(':')[0]}.log").open("wb") as log:
        process = start(("env", "-C", str(folder), *argv), {**shop.env, **env, "PYTHONPATH": str(folder)}, log)
        try:
            yield
        finally:
            stop(process, grace_s=15)


def test_a_stock_nameko_service_appears_as_a_stranger(shop: System, staff: Desk, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"AMQP_URI: {shop.env['AMQP_URI']}\n")

    def names() -> set[str]:
        return {each["name"] for each in registry(staff)["services"]}

    with program(shop, ROOT, config, "tests.e2e.stranger"):
        assert wait_until(lambda: "weather" in names(), 30)
        view = registry(staff)
        weather = service_of(view, "weather")
        assert (weather["stranger"], weather["m"], weather["instances"]) == (True, 1, [])
        assert weather["queue"]["consumers"] == 1
        assert [each["name"] for each in view["services"] if each["stranger"]] == ["weather"]
    assert wait_until(lambda: "weather" not in names(), 30)


def yesterday(folder: Path) -> Path:
    """The project as it was at that commit."""
    there = subprocess.run(("git", "cat-file", "-e", f"{YESTERDAY}^{{commit}}"), cwd=ROOT, check=False).returncode == 0
    shallow = subprocess.check_output(("git", "rev-parse", "--is-shallow-repository"), cwd=ROOT, text=True)
    if not there and shallow.strip() == "true":
        pytest.skip(f"a shallow clone has no commit {YESTERDAY}: git fetch --unshallow brings it")
    assert there, f"There is no commit {YESTERDAY} in this history."
    archive = folder / "yesterday.tar"
    subprocess.run(("git", "archive", "--output", archive, YESTERDAY), cwd=ROOT, check=True)
    shutil.unpack_archive(archive, folder / "yesterday", filter="data")
    return folder / "yesterday"


def test_yesterdays_inventory_works_beside_todays_orders(shop: System, staff: Desk, lamp: str, tmp_path: Path) -> None:
    old, port = yesterday(tmp_path), free_port()
    today = require_figures(shop, staff)

    def handled_by_the_old_one() -> float:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("rialto_handled_total")]
        return sum(float(line.rpartition(" ")[2]) for line in lines if 'method="reserve",outcome="ok"' in line)

    target = "services.inventory.service:InventoryService"
    with program(shop, old, old / "config.yaml", target, METRICS_PORT=str(port), INSTANCE="yesterday"):

        def readers() -> int:
            consumers: int = service_of(registry(staff), "inventory")["queue"]["consumers"]
            return consumers

        assert wait_until(lambda: readers() == 2, 60)
        with buying(shop.url, lamp, tmp_path) as crowd:
            assert wait_until(lambda: handled_by_the_old_one() >= 3 and len(crowd.orders) >= 10, 60)
        crowd.require_good_ends(at_least=10, within_s=SOON_S)
        assert handled_by_the_old_one() < len(crowd.orders)  # today's had its share
        require_that_the_books_agree(shop.var, crowd)

        def finding() -> str:
            found = [each for each in registry(staff)["findings"] if each["code"] == "unannounced"]
            return str(found[0]["text"]) if [each["service"] for each in found] == ["inventory"] else ""

        assert wait_until(lambda: finding() != "", UNANNOUNCED_S + 10)
        assert finding().startswith("1 more read the queue of inventory than announce themselves")
        assert ids_of(registry(staff), "inventory") == ids_of(today, "inventory")
    require_figures(shop, staff)
