"""The whole shop in one process: every service on a real broker and real files, the companies as real processes."""

import importlib
import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nameko.exceptions import RemoteError
from nameko.runners import ServiceRunner
from nameko.standalone.rpc import ClusterRpcProxy

from chassis.rpc import RpcClient
from tests.contract import services as contracts
from tests.sandboxes import Sandbox, running_acquirer, running_carrier, wait_until

SERVICES = tuple(name for name in contracts.SERVICES if name != "registry")
"""What sells. The registry is not among them: whoever wants to see it starts it too."""
ADDRESS = {"name": "Ada", "line1": "1 Street", "city": "Delft", "postal_code": "2611", "country": "NL"}
UNSETTLED = ("pending", "rejecting")


def service_class(name: str) -> type:
    module = importlib.import_module(f"services.{name}.service")
    found: type = getattr(module, f"{name.capitalize()}Service")
    return found


@dataclass
class Shop:
    """Calls go by stock nameko, as an operator's: `shop.rpc.orders.get(...)`."""

    rpc: Any
    config: dict[str, Any]
    acquirer: Sandbox
    carrier: Sandbox
    client: RpcClient
    runner: ServiceRunner

    def stop(self, service: str) -> None:
        """End the one instance of a service, as if nobody ran it."""
        self.runner.service_map[service].stop()

    def sell(self, sku: str, price: int, stock: int) -> None:
        """Put an article on sale."""
        product = {
            "name": f"Article {sku}",
            "description": "For tests.",
            "category": "home",
            "variants": [{"sku": sku, "price": {"amount": price, "currency": "EUR"}, "options": {}}],
        }
        self.rpc.products.create(product, key=uuid.uuid4().hex)
        if stock:
            self.rpc.inventory.receive([{"sku": sku, "quantity": stock}], "delivery", key=uuid.uuid4().hex)

    def customer(self, *lines: tuple[str, int], email: str | None = None) -> str:
        """A customer with these lines in the cart; answers their id."""
        address = email or f"{uuid.uuid4().hex[:12]}@rialto.example"
        user = self.rpc.users.sign_up(address, "a-long-password", "Ada", key=uuid.uuid4().hex)
        for sku, quantity in lines:
            self.rpc.carts.put_item({"customer_id": user["id"]}, sku, quantity, key=uuid.uuid4().hex)
        return str(user["id"])

    def place(self, customer_id: str, token: str = "tok_visa", key: str | None = None, **more: Any) -> Any:
        method = {"type": "card", "token": token}
        return self.rpc.orders.place(customer_id, ADDRESS, method, key=key or uuid.uuid4().hex, **more)

    def ended(self, order_id: str, limit_s: float = 30.0) -> Any:
        """The order once its saga has ended."""

        def look() -> Any:
            order = self.rpc.orders.get(order_id, 0.5)
            return order if order["status"] not in UNSETTLED else None

        return wait_until(look, limit_s)

    def stock(self, sku: str) -> tuple[int, int, int]:
        """available, reserved, sold"""
        counts = self.rpc.inventory.stock_of(sku)
        return counts["available"], counts["reserved"], counts["sold"]

    def movements(self) -> list[tuple[str, int]]:
        """What truly happened at the acquirer, read from its own database."""
        with sqlite3.connect(self.acquirer.db) as connection:
            return connection.execute("SELECT kind, amount FROM movements ORDER BY id").fetchall()

    def mails(self, count: int) -> Counter[str]:
        """The kinds of all mails, once there are at least so many."""

        def look() -> Any:
            found = self.rpc.notifications.find(None, 100)
            return found if len(found) >= count else None

        return Counter(mail["kind"] for mail in wait_until(look, 15)) if count else Counter()

    def cart(self, customer_id: str) -> list[tuple[str, int]]:
        lines = self.rpc.carts.get({"customer_id": customer_id})["lines"]
        return [(line["sku"], line["quantity"]) for line in lines]


@contextmanager
def running_companies(folder: Path) -> Iterator[tuple[Sandbox, Sandbox]]:
    with running_acquirer(folder) as acquirer, running_carrier(folder, auto_s=0) as carrier:
        yield acquirer, carrier


@contextmanager
def running_shop(
    config: dict[str, Any], acquirer: Sandbox, carrier: Sandbox, *more: str, **settings: Any
) -> Iterator[Shop]:
    """All services in this process, and `more`. Side effect: `config` gets the settings that tests want, and
    `settings`."""
    config.update(
        acquirer_url=acquirer.url,
        carrier_url=carrier.url,
        operator_password="operator-password",
        rpc_timeout_ms=3000,
        saga_step_timeout_ms=1000,
        saga_lease_ms=6000,
        saga_poll_ms=100,
        saga_backoff_ms=20,
    )
    config.update(settings)
    runner = ServiceRunner(config)
    for name in (*SERVICES, *more):
        runner.add_service(service_class(name))
    runner.start()
    try:
        client = runner.service_map["orders"].shared_extensions[RpcClient]
        with ClusterRpcProxy(config, timeout=20) as rpc:
            yield Shop(rpc, config, acquirer, carrier, client, runner)
    finally:
        runner.kill()


def in_green_threads(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run jobs at once; answers their results in order."""
    import eventlet

    threads = [eventlet.spawn(job) for job in jobs]
    return [thread.wait() for thread in threads]


def has_learned(support: Any) -> bool:
    """Whether support answers from its articles: it learns for a while, from its start or the first question on."""
    try:
        return bool(support.search("refund"))
    except RemoteError:
        return False
