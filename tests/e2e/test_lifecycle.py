"""`make run`, `make demo`, `make status`, `make stop`: from the start to the end, and what the terminal says."""

import re
import signal
import subprocess
from pathlib import Path

from scripts.plan import SERVICES
from scripts.processes import free_port, wait_until
from tests.e2e.shopping import Customer, Desk
from tests.e2e.system import STOPS_WITHIN_S, System, run

GOOD = ["reserve_stock", "assess_risk", "authorize_payment", "capture_payment"]
GOOD += ["commit_stock", "book_shipment", "clear_cart", "book_sale"]


def test_the_demo_shows_its_orders_and_books_and_leaves_nothing(
    demo: "subprocess.CompletedProcess[str]", system: System
) -> None:
    assert demo.returncode == 0, demo.stdout
    good, rest = demo.stdout.split("And again, with a card that the bank refuses in the end:")
    bad, rest = rest.split("She pays in, pays an order from her account, and cancels it:")
    wallet, talk = rest.split("She asks customer service:")
    assert all(re.search(rf"✓ {step} +\w+ +ok", good) for step in GOOD), good
    assert "the order is confirmed, its payment captured" in good
    assert re.search(r"✗ capture_payment +payments +refused", bad)
    assert [step for step in GOOD if re.search(rf"↶ {step} +\w+ +undone", bad)] == GOOD[:3]
    assert "the order is rejected, its payment voided" in bad
    assert "the deposit is completed" in wallet
    assert "the order is cancelled, its payment refunded" in wallet
    assert [line for line in wallet.splitlines() if "the account holds" in line][::2] == 2 * [
        "  the account holds 300.00 EUR"
    ]
    assert "from: How long does a refund take?, /v1/articles/refund_time?language=en" in talk
    assert all(re.search(rf"✓ {step} +\w+ +ok", talk) for step in ("discard", "refund_payment", "book_refund")), talk
    assert "the return is settled, 68.50 EUR of the order are refunded" in talk
    assert "the conversation is solved, and rated 5 of 5" in talk
    assert "customers EUR            liability" in talk
    assert "Traceback" not in demo.stdout
    if not system.process:  # the tests that share this state folder have not started theirs yet
        assert system.processes() == []


def refused(env: dict[str, str]) -> str:
    """What a start that cannot be says: one sentence, quickly."""
    done = run("-m", "scripts.up", env={"AMQP_URI": "", "DEMO": "0", **env}, timeout_s=20)
    assert done.returncode == 1
    assert done.stdout.count("\n") == 1, done.stdout
    return done.stdout


def test_a_port_that_is_taken_is_refused_in_one_sentence(shop: System, tmp_path: Path) -> None:
    said = refused({"VAR": str(tmp_path), "PORT": str(shop.port)})
    assert said == f"Port {shop.port} is taken; choose another, as in `make run PORT={shop.port + 1}`.\n"


def test_a_second_system_on_the_same_state_is_refused_in_one_sentence(shop: System) -> None:
    said = refused({"VAR": str(shop.var), "PORT": str(free_port())})
    assert said == f"A system runs on {shop.var} already: `make stop` ends it, or choose another VAR.\n"


def test_a_broker_that_is_not_there_is_refused_in_one_sentence(tmp_path: Path) -> None:
    port = free_port()
    uri = f"amqp://me:secret@127.0.0.1:{port}/"
    said = refused({"VAR": str(tmp_path), "PORT": str(free_port()), "AMQP_URI": uri})
    assert said == f"The broker at amqp://me:***@127.0.0.1:{port}/ (AMQP_URI) does not answer.\n"


def test_a_scale_that_names_no_service_is_refused_in_one_sentence(tmp_path: Path) -> None:
    said = refused({"VAR": str(tmp_path), "PORT": str(free_port()), "SCALE": "order=2"})
    assert said.startswith("SCALE names order, which is none of: users, products,")


def test_a_state_folder_that_cannot_be_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refused({"VAR": str(tmp_path / "file"), "PORT": str(free_port())})
    assert said == f"The state folder {tmp_path}/file (VAR) cannot be used: Not a directory.\n"


def test_a_killed_service_is_started_again_and_the_terminal_says_so(shop: System) -> None:
    first = shop.pid("risk-1")
    restarts = {unit["service"]: unit["restarts"] for unit in shop.status()}["risk"]
    shop.signal("risk-1", signal.SIGKILL)
    assert wait_until(lambda: shop.pid("risk-1") != first, 40)
    sentence = f"risk-1 was killed by SIGKILL (see {shop.var}/log/risk-1.log); starting it again in "
    assert sentence in shop.output.read_text()
    shop.wait_ready()
    assert {unit["service"]: unit["restarts"] for unit in shop.status()}["risk"] == restarts + 1


def test_the_status_shows_every_process(shop: System) -> None:
    units = shop.status()
    names = {"epmd", "broker", "acquirer", "carrier", "bank", "gateway", *SERVICES}
    assert {unit["service"] for unit in units} == names
    assert len(units) == len(names)
    assert all(unit["pid"] == shop.pid(f"{unit['service']}-1") for unit in units)
    assert all((unit["state"], unit["memory"] > 0) == ("running", True) for unit in units)
    head, *lines, total = shop.control("status").splitlines()
    assert head.split() == ["service", "instance", "pid", "up", "since", "memory", "restarts"]
    assert [line.split()[:3] for line in lines] == [[unit["service"], "1", str(unit["pid"])] for unit in units]
    assert re.fullmatch(r"19 processes, \d+ MB", total)


def test_ctrl_c_ends_everything_in_time_and_the_next_start_finds_what_there_was(shop: System, desk: Desk) -> None:
    sku = desk.sell(stock=5)
    with Customer(shop.url) as customer:
        order_id = customer.order(sku)
        assert customer.end_of(order_id)["status"] == "confirmed"
        # when
        took_s = shop.stop(signal.SIGINT)
        # then
        assert shop.process is not None
        assert (shop.process.returncode, shop.processes()) == (0, [])
        assert took_s < STOPS_WITHIN_S
        assert list((shop.var / "run").glob("*.pid")) == []
        try:
            a_second_ctrl_c_kills(shop)
        finally:
            shop.start()
        assert customer.call("GET", f"/v1/orders/{order_id}")["status"] == "confirmed"
    assert desk.stock(sku) == (4, 0, 1)


def a_second_ctrl_c_kills(system: System) -> None:
    """In the middle of a start, with a service that does not listen: it ends at once."""
    process = system.begin(SCALE="risk=2")
    assert wait_until(lambda: system.said("started 20 processes"), 120)
    assert system.pid("risk-2") != system.pid("risk-1")
    system.signal("orders-1", signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    assert wait_until(lambda: system.said("stopping: "), 5)
    assert system.stop(signal.SIGINT) < 3
    assert (process.returncode, system.processes()) == (0, [])
