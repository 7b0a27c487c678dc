"""What more instances bring: `make bench ARGS="scaling"`, into bench/results/scaling-<when>.md. Some six minutes.

Work that computes (log-in), work that waits (payments, 100 ms at the acquirer) and work that needs everything (orders),
on PostgreSQL, with more and more instances; beside each what a model without any queueing allows at most. And how long
it takes until a new instance serves, and until a dead one is noticed. With --quick all of it is short, for trying out.
"""

import itertools
import secrets
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from nameko.standalone.rpc import ServiceRpcProxy

from bench.report import machine, write
from bench.sagas import OPERATOR, running, shop
from bench.shop import PASSWORD, Client, Figures
from bench.system import System, wait_for
from scripts.control import ask
from scripts.postgresql import cluster
from scripts.processes import wait_until
from scripts.scale import System as Instances

COUNTS = (1, 2, 4, 8)
CORES = psutil.cpu_count() or 1
CORES_END, ENOUGH = 0.9, 3
"""So much of them used so often after one another: with more instances only memory would grow."""
LATENCY_MS = 100
PAYMENT_WORKERS = 2
"""Few, so that waiting limits an instance and not the processor."""
ON_THE_WAY = ("orders", "payments", "inventory", "shipping", "carts", "risk")
UNDER_WAY = ("pending", "rejecting")
ORDER_S = 60.0
TRIES = 3
HEARD = {"ANNOUNCE_EVERY_MS": "2000"}
"""As by default: how soon a dead instance is noticed is measured."""


@dataclass(frozen=True)
class Size:
    """Seconds of each measurement, instances, and how often times are taken."""

    seconds: float
    counts: tuple[int, ...]
    tries: int


FULL, QUICK = Size(8, COUNTS, TRIES), Size(2, COUNTS[:2], 1)
Act = Callable[[], None]
Row = tuple[str, str]
HEADS = ("m", "per second", "model", "bound by", "measured / model", "p50", "CPU of each", "cores", "others")


@dataclass(frozen=True)
class Work:
    """A kind of work: which services get instances, how many calls one of them serves at once, and what each caller
    repeats."""

    name: str
    services: tuple[str, ...]
    workers: int
    acts: Sequence[Act]


@dataclass(frozen=True)
class Model:
    """What operational laws allow at most, whatever is random: nobody is served faster than alone, an instance serves
    no more at once than it has workers, and the cores have no more seconds than there are of them. `alone_s`: the
    answer's time for one caller alone. `cpu_s`: what each takes of all processes together, with one instance."""

    callers: int
    workers: int
    alone_s: float
    cpu_s: float

    def bounds(self, instances: int) -> dict[str, float]:
        """Each law's most a second."""
        return {
            "callers": self.callers / self.alone_s,
            "instances": instances * self.workers / self.alone_s,
            "cores": CORES / self.cpu_s,
        }


@dataclass(frozen=True)
class Point:
    """One measurement. `each_s`: CPU seconds of each piece of work; `used`: cores that we used, and that others did."""

    instances: int
    figures: Figures
    each_s: float
    used: float
    others: float


@dataclass(frozen=True)
class Curve:
    model: Model
    points: list[Point]

    def row(self, at: Point) -> list[str]:
        law, most = min(self.model.bounds(at.instances).items(), key=lambda bound: bound[1])
        measured, p50, each_ms = at.figures.per_s, f"{at.figures.p50:.0f} ms", f"{at.each_s * 1000:.1f} ms"
        cores = [f"{at.used:.2f}", f"{max(at.others, 0):.2f}"]
        model = [f"{most:.1f}", law, f"{measured / most:.2f}"]
        return [str(at.instances), f"{measured:.1f}", *model, p50, each_ms, *cores]


def main(quick: bool) -> None:
    size = QUICK if quick else FULL
    begun = time.monotonic()
    curves: dict[str, Curve] = {}
    times: list[Row] = []
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="rialto-bench-")))
        folder.chmod(0o711)  # PostgreSQL runs as another user, and has to pass
        far = {"ACQUIRER_LATENCY_MS": str(LATENCY_MS), "PAYMENTS_MAX_WORKERS": str(PAYMENT_WORKERS)}
        with running_on_postgresql(folder / "far", **far, **HEARD) as (system, _):
            for work in (log_in(system), payments(system)):
                curves[work.name] = curve(system, work, size)
            times += list(first_calls(system, size)) + list(dead_ones(system, size))
        with running_on_postgresql(folder / "near") as (system, skus):
            work = orders(system, skus)
            curves[work.name] = curve(system, work, size)
    report(curves, times, time.monotonic() - begun, quick)


@contextmanager
def running_on_postgresql(folder: Path, **wishes: str) -> Iterator[tuple[System, list[str]]]:
    folder.mkdir()
    folder.chmod(0o711)
    with ExitStack() as undo:
        uri = undo.enter_context(cluster(folder / "postgresql", durable=True))
        yield undo.enter_context(shop(folder / "shop", DB="postgresql", PG_URI=uri, **wishes))


# --- the kinds of work


def log_in(system: System) -> Work:
    """Customers who log in. argon2 runs in threads: each instance uses as many cores as there are."""

    def customer() -> Act:
        client, email = Client(system.port), f"bench-{secrets.token_hex(6)}@rialto.example"
        client.call("POST", "/v1/users", {"email": email, "password": PASSWORD, "name": "Bench"})
        return lambda: client.log_in(email, PASSWORD)

    return Work("Log-in (argon2: computes)", ("users",), CORES, [customer() for _ in range(16)])


def payments(system: System) -> Work:
    """Authorisations over RPC, by a stock client for each caller."""

    def caller() -> Act:
        proxy = ServiceRpcProxy("payments", {"AMQP_URI": system.setting("AMQP_URI")}, timeout=30).start()

        def authorize() -> None:
            name = secrets.token_hex(16)
            card = {"type": "card", "token": "tok_visa"}
            proxy.authorize(order_id=name, amount={"amount": 100, "currency": "EUR"}, method=card, key=name)

        return authorize

    name = f"Authorising a payment ({LATENCY_MS} ms at the acquirer: waits)"
    return Work(name, ("payments",), PAYMENT_WORKERS, [caller() for _ in range(4 * COUNTS[-1])])


def orders(system: System, skus: list[str]) -> Work:
    """Orders to their end, each with an article put into the cart before."""
    numbers = itertools.count()

    def customer() -> Act:
        client, email = Client(system.port), f"bench-{secrets.token_hex(6)}@rialto.example"
        client.call("POST", "/v1/users", {"email": email, "password": PASSWORD, "name": "Bench"})
        client.log_in(email, PASSWORD)

        def order() -> None:
            client.call("PUT", f"/v1/cart/items/{skus[next(numbers) % len(skus)]}", {"quantity": 1})
            placed = client.order("tok_visa", Prefer="wait=10")
            wait_until(lambda: status_of(client, placed) not in UNDER_WAY, ORDER_S)
            if placed["status"] != "confirmed":
                raise RuntimeError(f"an order ended as {placed['status']}: {placed.get('reason')}")

        return order

    return Work("Placing an order (everything)", ON_THE_WAY, 20, [customer() for _ in range(16)])


def status_of(client: Client, order: dict[str, Any]) -> str:
    """The order's status when it was placed, or, if that was not its end, by now."""
    if order["status"] in UNDER_WAY:
        order.update(client.call("GET", f"/v1/orders/{order['id']}"))
    return str(order["status"])


# --- curves


def curve(system: System, work: Work, size: Size) -> Curve:
    """With more and more instances, until the cores end."""
    print(f"\n{work.name}\n{'  '.join(HEADS)}", flush=True)
    instances = Instances(system.var, say=lambda line: None)
    points: list[Point] = []
    alone: Figures | None = None
    for count in size.counts:
        instances.scale(dict.fromkeys(work.services, count))
        load(work.acts, 1)  # warm
        alone = alone or load(work.acts[:1], size.seconds / 2)
        points.append(point(system, work, size.seconds, count))
        made = Curve(Model(len(work.acts), work.workers, alone.p50 / 1000, points[0].each_s), points)
        print("  ".join(made.row(points[-1])), flush=True)
        if len(points) >= ENOUGH and all(each.used > CORES_END * CORES for each in points[-ENOUGH:]):
            break
    instances.scale(dict.fromkeys(work.services, 1))
    return made


def point(system: System, work: Work, seconds: float, instances: int) -> Point:
    before, busy = cpu_s(system), busy_s()
    figures = load(work.acts, seconds)
    took_s = figures.count / figures.per_s
    ours_s = cpu_s(system) - before
    return Point(instances, figures, ours_s / figures.count, ours_s / took_s, (busy_s() - busy - ours_s) / took_s)


def cpu_s(system: System) -> float:
    """What the system, its databases and this process have used so far."""
    data = str(system.var.parent / "postgresql")
    servers = [each for each in psutil.process_iter(["cmdline"]) if data in " ".join(each.info["cmdline"] or ())]
    every = {each for server in servers for each in (server, *server.children(recursive=True))}
    databases = sum(sum(each.cpu_times()[:2]) for each in every)
    return sum(system.cpu_s().values()) + databases + time.process_time()


def busy_s() -> float:
    """What all processes of the machine have used so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def load(acts: Sequence[Act], seconds: float) -> Figures:
    """Have each act repeated, in a thread of its own, for so long."""
    took: list[float] = []
    failures: list[Exception] = []
    begun, used = time.perf_counter(), time.process_time()

    def repeat(act: Act) -> None:
        try:
            while (sent := time.perf_counter()) - begun < seconds and not failures:
                act()
                took.append(time.perf_counter() - sent)
        except Exception as exc:  # noqa: BLE001 it is raised below
            failures.append(exc)

    threads = [threading.Thread(target=repeat, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    whole_s, ordered = time.perf_counter() - begun, sorted(took)
    p50, p95, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.95, 0.99))
    return Figures(len(took) / whole_s, p50, p95, p99, time.process_time() - used, len(took))


# --- coming and going


def first_calls(system: System, size: Size) -> Iterator[Row]:
    """From asking for an instance to its first answer: a call waits in the queue already."""
    config = {"AMQP_URI": system.setting("AMQP_URI")}
    for service, method in (("products", "categories"), ("orders", "find")):
        took = []
        for _ in range(size.tries):
            Instances(system.var, say=lambda line: None).scale({service: 0})
            with ServiceRpcProxy(service, config, timeout=60) as proxy:
                waiting = getattr(proxy, method).call_async()
                begun = time.monotonic()
                ask(system.var, "scale", {service: 1})
                waiting.result()
                took.append(time.monotonic() - begun)
        yield said(f"an instance of {service}: from its start to its first answer", took)
    wait_for("all services", lambda: is_ready(system))


def dead_ones(system: System, size: Size) -> Iterator[Row]:
    """Until GET /v1/registry does not count one any more that was killed, or that only stands still."""
    Instances(system.var, say=lambda line: None).scale({"risk": 2})
    operator = Client(system.port)
    operator.log_in(*OPERATOR.values())
    for what, number in (("killed, and started anew by the supervisor", signal.SIGKILL), ("silent", signal.SIGSTOP)):
        took = []
        for _ in range(size.tries):
            wait_for("two instances of risk", lambda: len(known(operator)) == 2)
            process = psutil.Process(running(system, "risk")[-1])
            begun = time.monotonic()
            process.send_signal(number)
            wait_for("the registry to notice", partial(is_not_known, operator, process.pid))
            took.append(time.monotonic() - begun)
            if number == signal.SIGSTOP:
                process.send_signal(signal.SIGCONT)
        yield said(f"an instance that is {what}: until it is not counted any more", took)
    bound_s = operator.call("GET", "/v1/registry")["bound_s"]
    yield "the bound that the registry states for both", f"{bound_s:g} s"


def known(operator: Client) -> list[int]:
    """The pids of the instances of risk that the registry counts as up."""
    services = operator.call("GET", "/v1/registry")["services"]
    (risk,) = [each for each in services if each["name"] == "risk"]
    return [each["pid"] for each in risk["instances"] if each["state"] == "up"]


def is_not_known(operator: Client, pid: int) -> bool:
    return pid not in known(operator)


def is_ready(system: System) -> bool:
    try:
        Client(system.port).call("GET", "/v1/ready")
    except RuntimeError:
        return False
    return True


def said(what: str, took: list[float]) -> Row:
    row = (what, f"{statistics.median(took):.1f} s ({min(took):.1f} to {max(took):.1f}, {len(took)} times)")
    print("  ".join(row), flush=True)
    return row


def report(curves: dict[str, Curve], times: list[Row], took_s: float, quick: bool) -> None:
    lines = [machine(), *(["**Tried out with small sizes: no figures to go by.**"] if quick else []), ""]
    lines += [f"Load, broker and PostgreSQL (durable) are on the same machine; its load average is {load_now()} at"]
    lines += [
        f"the end. The whole took {took_s / 60:.1f} minutes. *model* is the least of three bounds: callers / alone,"
    ]
    lines += ["m w / alone, and cores / CPU of each as it was with one instance; *bound by* says which. *cores*: those"]
    lines += ["that all of it used, the load too; *others*: those that the machine was busy with besides.", ""]
    for name, made in curves.items():
        model = made.model
        facts = f"alone {model.alone_s * 1000:.0f} ms, w = {model.workers}, {model.callers} callers"
        lines += [f"## {name}", "", f"{facts}.", "", f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
        lines += [*(f"| {' | '.join(made.row(each))} |" for each in made.points), ""]
    lines += ["## Coming and going", "", "| what | time |", "|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in times]
    write("What more instances bring, ", lines, name="scaling-quick-" if quick else "scaling-")


def load_now() -> str:
    return " ".join(f"{each:.1f}" for each in psutil.getloadavg())
