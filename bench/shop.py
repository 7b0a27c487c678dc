"""The shop over HTTP: reading a product, and orders to their end. Load comes from wrk, or from threads of ours."""

import http.client
import itertools
import json
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

ADDRESS = {"name": "Bench", "line1": "1 Street", "city": "Delft", "postal_code": "2611", "country": "NL"}
PASSWORD = "a-long-enough-password"


@dataclass
class Figures:
    """Requests per second and latencies in milliseconds; `cpu_s` is what the load's own process used."""

    per_s: float
    p50: float
    p95: float
    p99: float
    cpu_s: float
    count: int


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.headers: dict[str, str] = {"Content-Type": "application/json"}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        payload = None if body is None else json.dumps(body)
        try:
            self.connection.request(method, path, payload, {**self.headers, **headers})
            response = self.connection.getresponse()
        except (BrokenPipeError, http.client.RemoteDisconnected):  # it had been idle for long
            self.connection.close()
            self.connection.request(method, path, payload, {**self.headers, **headers})
            response = self.connection.getresponse()
        content = response.read()
        if response.status == 504 and "Idempotency-Key" in headers:  # whether it acted is not known: ask again
            return self.call(method, path, body, **headers)
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {content.decode()}")
        return json.loads(content) if content else None

    def order(self, card: str, **headers: str) -> Any:
        """Order what is in the cart."""
        body = {"shipping_address": ADDRESS, "payment_method": {"type": "card", "token": card}}
        return self.call("POST", "/v1/orders", body, **{"Idempotency-Key": secrets.token_hex(12)}, **headers)

    def log_in(self, email: str, password: str) -> None:
        tokens = self.call("POST", "/v1/sessions", {"email": email, "password": password})
        self.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def sell(self, sku: str, units: int) -> str:
        """As an operator: put a new article on sale."""
        variant = {"sku": sku, "options": {}, "price": {"amount": 1999, "currency": "EUR"}}
        product = {"name": f"Article {sku}", "description": "For figures.", "category": "home", "variants": [variant]}
        self.call("POST", "/v1/products", product)
        self.call("POST", f"/v1/stock/{sku}/adjustments", {"quantity": units, "reason": "delivery"})
        return sku


def read_product(port: int, connections: int, seconds: int) -> Figures:
    """GET of one product by wrk."""
    product = Client(port).call("GET", "/v1/products?limit=1")["items"][0]["id"]
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("bench needs wrk: apt-get install wrk")
    begun = _children_cpu_s()
    url = f"http://127.0.0.1:{port}/v1/products/{product}"
    script = ("-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url)
    printed = subprocess.run([wrk, *script], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in printed:
        raise RuntimeError(printed)
    p50, p99 = (_wrk_ms(printed, share) for share in ("50%", "99%"))
    per_s = float(re.search(r"Requests/sec:\s+([\d.]+)", printed)[1])  # type: ignore[index]
    count = int(re.search(r"(\d+) requests in", printed)[1])  # type: ignore[index]
    return Figures(per_s, p50, _wrk_ms(printed, "90%"), p99, _children_cpu_s() - begun, count)


def _wrk_ms(printed: str, share: str) -> float:
    found = re.search(rf"\s{share}\s+([\d.]+)(us|ms|s)", printed)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def _children_cpu_s() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Customers:
    """Customers with filled carts, a thread and a connection for each `connections`th of them."""

    def __init__(self, port: int, connections: int, each: int, skus: list[str] | None = None) -> None:
        """They buy `skus`, or what the demo's catalogue has."""
        self.shoppers = [[self._sign_up(port) for _ in range(each)] for _ in range(connections)]
        self.skus = skus or self._offered(port)
        self.orders: list[tuple[Client, str]] = []  # of the last round, with whose each is

    def _offered(self, port: int) -> list[str]:
        found = Client(port).call("GET", "/v1/products?in_stock=true&limit=50&sort=name")["items"]
        return [variant["sku"] for product in found for variant in product["variants"] if variant["available"]]

    def _sign_up(self, port: int) -> Client:
        client = Client(port)
        email = f"bench-{secrets.token_hex(6)}@rialto.example"
        client.call("POST", "/v1/users", {"email": email, "password": PASSWORD, "name": "Bench"})
        client.log_in(email, PASSWORD)
        return client

    def fill_carts(self) -> None:
        """Two articles into every cart."""
        every = [client for shoppers in self.shoppers for client in shoppers]
        for index, client in enumerate(every):
            for step in (0, 7):
                sku = self.skus[(index + step) % len(self.skus)]
                client.call("PUT", f"/v1/cart/items/{sku}", {"quantity": 1})

    def begin_all(self) -> None:
        """Begin an order for each customer, and do not wait for its end."""

        def begin(shoppers: list[Client]) -> None:
            for client in shoppers:
                client.order("tok_visa")
                client.connection.close()  # there may be more customers than the gateway takes connections

        in_threads([partial(begin, shoppers) for shoppers in self.shoppers])

    def order_all(self, card_of: Callable[[int], str] = lambda number: "tok_visa") -> Figures:
        """Time one order to its end for each customer, all connections at once. `card_of` the how manieth order."""
        self.orders.clear()
        latencies: list[float] = []
        numbers = itertools.count()

        def buy(shoppers: list[Client]) -> None:
            for client in shoppers:
                card = card_of(next(numbers))
                begun = time.perf_counter()
                order = client.order(card, Prefer="wait=10")
                if order["status"] != ("confirmed" if card == "tok_visa" else "rejected"):
                    raise RuntimeError(f"an order by {card} ended as {order['status']}: {order.get('reason')}")
                latencies.append(time.perf_counter() - begun)
                self.orders.append((client, order["id"]))

        return self._timed(latencies, buy)

    def cancel_all(self) -> Figures:
        """Time the cancel of each order of the last round to its end, one after the other."""
        latencies: list[float] = []

        def cancel(_: list[Client]) -> None:
            for client, order_id in self.orders:
                begun = time.perf_counter()
                client.call("POST", f"/v1/orders/{order_id}/cancel", {"reason": "for figures"})
                while (status := client.call("GET", f"/v1/orders/{order_id}")["status"]) == "cancelling":
                    pass
                if status != "cancelled":
                    raise RuntimeError(f"a cancelled order ended as {status}")
                latencies.append(time.perf_counter() - begun)

        return self._timed(latencies, cancel, at_once=1)

    def _timed(
        self, latencies: list[float], job: Callable[[list[Client]], None], at_once: int | None = None
    ) -> Figures:
        cpu = time.process_time()
        took = in_threads([partial(job, shoppers) for shoppers in self.shoppers[:at_once]])
        return figures_of(latencies, took, time.process_time() - cpu)


def figures_of(latencies: list[float], took: float, cpu_s: float) -> Figures:
    """Of so many seconds each, and of all of them together."""
    ordered = sorted(latencies)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    return Figures(len(ordered) / took, at(0.5), at(0.95), at(0.99), cpu_s, len(ordered))


def in_threads(jobs: list[Callable[[], None]]) -> float:
    """Run jobs in threads; answers how long all of them took. Raises what one of them raised."""
    failures: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except (RuntimeError, OSError, http.client.HTTPException) as exc:
            failures.append(exc)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.perf_counter() - begun
