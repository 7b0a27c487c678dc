"""Nameko's own tools work on our services as on any others: shell, proxies, strangers, the testing helpers."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from doctest import ELLIPSIS, DocTestParser, OutputChecker
from pathlib import Path

import kombu
import pytest
import yaml
from nameko.exceptions import MethodNotFound, UnknownService
from nameko.standalone.rpc import ClusterRpcProxy, ServiceRpcProxy
from nameko.testing.services import entrypoint_hook, entrypoint_waiter, worker_factory

from chassis.context import Call
from chassis.db import Sessions, new_engine
from chassis.errors import ServiceError
from chassis.outbox import publish
from chassis.types import Caller, Money
from contracts.carts import Cart
from contracts.common import Address, CartRef
from contracts.inventory import Stock
from contracts.orders import OrderConfirmed
from services.carts.service import CartsService
from services.inventory.service import InventoryService
from services.orders.service import OrdersService
from services.products.service import ProductsService
from tests.conftest import ROOT
from tests.sandboxes import wait_until

LAMP = "LAMP-1"
LINES = [{"sku": LAMP, "quantity": 2}]
EXAMPLES = DocTestParser().get_examples
NAMEKO = Path(sys.executable).with_name("nameko")

STRANGER = """
from nameko.events import event_handler
from nameko.rpc import RpcProxy, rpc

try:
    import chassis
except ImportError:
    pass
else:
    raise SystemExit("the stranger must not see the project")


class StrangerService:
    name = "stranger"
    inventory = RpcProxy("inventory")

    @rpc
    def left(self, sku):
        return self.inventory.stock_of(sku)["available"]

    @rpc
    def refusal(self, sku):
        try:
            self.inventory.stock_of(sku)
        except Exception as exc:
            return [type(exc).__name__, exc.exc_type, exc.value]

    @event_handler("orders", "order_confirmed")
    def on_order_confirmed(self, event):
        with open("heard", "a") as heard:
            heard.write("{order_id} {total[amount]}\\n".format(**event))
"""


@pytest.fixture
def inventory(container_factory, migrated_config):
    container = container_factory(InventoryService, migrated_config)
    container.start()
    with entrypoint_hook(container, "receive") as receive:
        receive([{"sku": LAMP, "quantity": 5}], "delivery", key="first")
    return container


# --- from outside


def test_a_stock_proxy_calls_every_kind_of_method(inventory, migrated_config):
    with ServiceRpcProxy("inventory", migrated_config, timeout=10) as proxy:
        reservation = proxy.reserve("o1", LINES, key="k1")
        assert reservation == {"order_id": "o1", "status": "held", "lines": LINES}
        assert proxy.reserve(order_id="o1", lines=LINES, key="k1") == reservation
        proxy.release("o1", LINES, key="k1")
        assert proxy.stock_of(LAMP) == {"sku": LAMP, "received": 5, "available": 5, "reserved": 0, "sold": 0}
        pending = [proxy.stock_of.call_async(LAMP) for _ in range(3)]
        assert [reply.result()["available"] for reply in pending] == [5, 5, 5]


def test_stock_proxies_are_told_what_is_wrong(inventory, migrated_config):
    with ClusterRpcProxy(migrated_config, timeout=10) as cluster:
        with pytest.raises(ServiceError) as refusal:
            cluster.inventory.reserve("o1", [{"sku": LAMP, "quantity": 6}], key="k1")
        assert (refusal.value.code, refusal.value.details["available"]) == ("inventory.insufficient", 5)
        with pytest.raises(MethodNotFound):
            cluster.inventory.steal(LAMP)
        with pytest.raises(UnknownService):
            cluster.nowhere.anything()


@pytest.fixture
def stranger(migrated_config, tmp_path):
    """A stock nameko service of somebody else's, run by stock `nameko run` in a folder of its own."""
    home = tmp_path / "stranger"
    home.mkdir()
    (home / "stranger.py").write_text(STRANGER)
    (home / "config.yaml").write_text(yaml.safe_dump({"AMQP_URI": migrated_config["AMQP_URI"]}))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [NAMEKO, "run", "--config", "config.yaml", "stranger"], cwd=home, env=env, stdout=log, stderr=log
        )

    def serves():
        assert process.poll() is None, (home / "log").read_text()
        with kombu.Connection(migrated_config["AMQP_URI"]) as connection, connection.channel() as channel:
            try:
                return channel.queue_declare("rpc-stranger", passive=True).consumer_count
            except connection.channel_errors:
                return False

    try:
        wait_until(serves, 30)
        yield home
    finally:
        process.terminate()
        process.wait(15)


def test_a_stock_service_calls_ours_and_hears_its_events(stranger, inventory, container_factory, migrated_config):
    with ServiceRpcProxy("stranger", migrated_config, timeout=20) as proxy:
        assert proxy.left(LAMP) == 5
        assert proxy.refusal("NONE") == [
            "RemoteError",
            "ServiceError",
            "inventory.unknown_sku: There is no stock of 'NONE'.",
        ]
    container_factory(OrdersService, migrated_config).start()
    confirmed = OrderConfirmed(
        event_id="e1",
        occurred_at=datetime.now(UTC),
        aggregate_id="o1",
        sequence=1,
        order_id="o1",
        customer_id="ann",
        email="ann@rialto.example",
        name="Ann",
        total=Money(amount=1999, currency="EUR"),
        lines=[],
        tracking=None,
    )
    engine = new_engine(migrated_config["DB_URIS"]["orders:Base"], 1)
    with Sessions(engine).write() as session:
        publish(session, confirmed)
    engine.dispose()
    heard = stranger / "heard"
    wait_until(heard.exists)
    wait_until(lambda: heard.read_text() == "o1 1999\n")


# --- nameko shell


def shell(config, *lines):
    """What `nameko shell` prints when these lines are typed into it."""
    run = subprocess.run(
        [NAMEKO, "shell", "--config", "config.yaml"],
        check=False,
        input="\n".join(lines) + "\n",
        env={**os.environ, "AMQP_URI": config["AMQP_URI"]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.stdout, run.stderr


def test_nameko_shell_asks_and_changes(inventory, migrated_config):
    printed, _ = shell(
        migrated_config,
        f'n.rpc.inventory.stock_of("{LAMP}")["available"]',
        f'n.rpc.inventory.adjust("{LAMP}", -2, "counted", key="shell-1")["available"]',
        f'n.rpc.inventory.adjust("{LAMP}", -2, "counted", key="shell-1")["available"]',
        "n.rpc.inventory.audit()",
    )
    answers = [line.removeprefix(">>> ") for line in printed.splitlines() if line.removeprefix(">>> ")]
    assert answers == ["5", "3", "3", "{'skus': 1, 'broken': [], 'open': []}"]


def test_nameko_shell_shows_a_refusal_by_its_code_and_sentence(inventory, migrated_config):
    _, errors = shell(migrated_config, 'n.rpc.inventory.stock_of("NONE")')
    assert "ServiceError inventory.unknown_sku: There is no stock of 'NONE'." in errors


def test_the_session_in_the_documents_says_what_happens(shop):
    shop.sell(LAMP, 1999, stock=5)
    page = (ROOT / "docs" / "nameko-shell.md").read_text()
    examples = [each for block in re.findall(r"```pycon\n(.*?)```", page, re.DOTALL) for each in EXAMPLES(block)]
    printed, errors = shell(shop.config, *[each.source for each in examples])  # an empty line ends a compound one
    wanted = "".join(each.want for each in examples)
    got = re.sub(r"^(>>> |\.\.\. )+", "", printed, flags=re.MULTILINE)
    assert OutputChecker().check_output(wanted, got, ELLIPSIS), f"{got}\n{errors}"


# --- nameko.testing


def test_worker_factory_replaces_what_a_service_depends_on():
    orders = worker_factory(OrdersService, call=Call(trace_id="t", caller=Caller(customer_id="ann")))
    orders.carts.get.return_value = Cart(id="", lines=[], version=0)
    address = Address(name="Ann", line1="Street 1", city="Delft", postal_code="2611", country="NL")
    with pytest.raises(ServiceError) as refusal:
        orders.quote(CartRef(customer_id="ann"), address)
    assert refusal.value.code == "orders.cart_empty"
    orders.carts.get.assert_called_once_with(CartRef(customer_id="ann"))
    assert not orders.products.offers.called


def test_entrypoint_hook_runs_a_method_inside_its_container(inventory):
    with entrypoint_hook(inventory, "stock_of") as stock_of:
        assert stock_of(LAMP) == Stock(sku=LAMP, received=5, available=5, reserved=0, sold=0)
    customer = {"caller": {"customer_id": "ann", "roles": ["customer"]}}
    with entrypoint_hook(inventory, "adjust", context_data=customer) as adjust:
        with pytest.raises(ServiceError) as refusal:
            adjust(LAMP, 1, "found", key="k1")
        assert refusal.value.code == "auth.forbidden"


def test_entrypoint_waiter_sees_an_event_arrive_between_services_of_one_runner(runner_factory, migrated_config):
    runner = runner_factory(migrated_config, InventoryService, ProductsService)
    runner.start()
    products = next(each for each in runner.containers if each.service_name == "products")
    with (
        entrypoint_waiter(products, "on_stock_changed", timeout=20) as handled,
        ServiceRpcProxy("inventory", migrated_config, timeout=10) as proxy,
    ):
        proxy.receive([{"sku": LAMP, "quantity": 1}], "delivery", key="k1")
    assert handled.get() is None
    runner.stop()


def test_a_runner_stops_and_starts_again_with_what_was_kept(runner_factory, migrated_config):
    for number in (1, 2):
        runner = runner_factory(migrated_config, InventoryService, CartsService)
        runner.start()
        with ClusterRpcProxy(migrated_config, timeout=10) as cluster:
            cluster.inventory.receive([{"sku": LAMP, "quantity": 1}], "delivery", key=f"k{number}")
            assert cluster.inventory.stock_of(LAMP)["available"] == number
            assert len(cluster.carts.create_guest(key=f"g{number}")["cart_token"]) > 20
        runner.stop()
