"""What is odd is said when it is so, and not otherwise. Each test changes one thing of a scene with nothing odd."""

from dataclasses import replace

import msgspec
import pytest

from services.registry.domain import QueueState, Sight
from services.registry.findings import DECLARED_S, MUCH, STEADY_S, Scene, findings
from services.registry.views import sample
from tests.registry import EVERY_S, GONE_AFTER_S, SUSPECT_AFTER_S, Ear, binding_of, telling

GROWING_S = 30.0
KEPT = int(GROWING_S / EVERY_S) + 2  # samples
ORDERS, USERS, EVENTS = "rpc-orders", "rpc-users", "evt-orders-order_placed--users.on_order_placed"
PROMISED = {"orders": ("c-orders", frozenset({"get", "place"})), "users": ("c-users", frozenset({"profile"}))}
IDLE = QueueState(ready=0, consumers=1, unacked=0, acked=100)
NOBODY = replace(IDLE, consumers=0)


def orders(instance="o1", **more):
    said = dict(contract="c-orders", methods=("get", "place"), bindings=[binding_of("orders")], settings_digest="s")
    return telling("orders", instance, **{**said, **more})


def users(instance="u1", **more):
    return telling("users", instance, **{**dict(contract="c-users", methods=("profile",)), **more})


class Stage:
    """Instances that speak every two seconds, and a broker that is looked at as often."""

    def __init__(self):
        self.ear = Ear()
        self.speaking = {"o1": orders(), "u1": users()}
        self.queues = {ORDERS: IDLE, USERS: IDLE}
        self.source = "management"
        self.bindings = frozenset({binding_of("orders"), binding_of("users")})
        self.samples = []
        self.beat = 0

    def go_on(self, seconds):
        for _ in range(round(seconds / EVERY_S)):
            self.ear.pass_s(EVERY_S)
            self.beat += 1
            self.ear.hear(*(msgspec.structs.replace(each, beat=self.beat) for each in self.speaking.values()))
            self.ear.look()
            bindings = self.bindings if self.source == "management" else None
            sight = Sight(self.source, dict(self.queues), bindings)
            self.samples = [*self.samples, sample(self.ear.census, sight, self.ear.at)][-KEPT:]
        return self

    def findings(self):
        return findings(Scene(self.ear.census, PROMISED, self.samples, self.ear.at, GROWING_S))

    def found(self):
        return [(each.severity, each.code, each.service) for each in self.findings()]

    def text(self, code):
        (text,) = [each.text for each in self.findings() if each.code == code]
        return text


@pytest.fixture
def stage():
    return Stage().go_on(40)


def test_of_what_is_as_it_should_be_nothing_is_said(stage):
    assert stage.found() == []


def test_the_gravest_is_said_first_then_by_service(stage):
    stage.speaking = {
        "u1": users(methods=("profile", "odd")),
        "u2": users("u2", settings_digest="other"),
        "o1": orders(methods=("get", "odd")),
    }
    stage.go_on(2)
    assert stage.found() == [
        ("error", "not_registered", "orders"),
        ("warning", "not_declared", "orders"),
        ("warning", "not_declared", "users"),
        ("info", "settings_differ", "users"),
    ]


# --- no_instance


def test_a_service_without_an_instance_is_an_error(stage):
    del stage.speaking["u1"]
    stage.queues[USERS] = NOBODY
    stage.go_on(SUSPECT_AFTER_S)
    assert stage.found() == []
    stage.go_on(EVERY_S)
    assert stage.found() == [("error", "no_instance", "users"), ("warning", "suspect", "users")]
    assert stage.text("no_instance") == "users has no instance: whoever needs it answers 503."
    stage.go_on(GONE_AFTER_S)
    assert stage.found() == [("error", "no_instance", "users")]


def test_one_of_two_is_enough(stage):
    stage.speaking["u2"] = users("u2")
    stage.queues[USERS] = replace(IDLE, consumers=2)
    stage.go_on(EVERY_S)
    del stage.speaking["u1"]
    stage.queues[USERS] = IDLE
    stage.go_on(GONE_AFTER_S + EVERY_S)
    assert stage.found() == []


def test_a_stranger_who_reads_the_queue_serves_too():
    stage = Stage()
    del stage.speaking["u1"]
    assert stage.go_on(40).found() == []


def test_who_was_heard_and_hangs_serves_nobody_though_the_queue_has_a_reader(stage):
    del stage.speaking["u1"]  # SIGSTOP: its connection stays
    stage.go_on(GONE_AFTER_S + EVERY_S)
    assert ("error", "no_instance", "users") in stage.found()
    assert stage.text("no_instance") == "No instance of users is heard of, though 1 read its queue: do they hang?"


def test_nothing_is_missed_before_the_broker_was_looked_at():
    assert Stage().found() == []


def test_nothing_is_missed_while_the_broker_does_not_answer():
    stage = Stage()
    stage.speaking, stage.queues, stage.source = {}, {}, "none"
    assert stage.go_on(40).found() == []


# --- suspect, hears_little


def test_a_suspect_is_named_with_the_time_of_its_silence(stage):
    stage.speaking["u2"] = users("u2")
    stage.queues[USERS] = replace(IDLE, consumers=2)
    stage.go_on(40)
    del stage.speaking["u2"]
    stage.go_on(SUSPECT_AFTER_S + EVERY_S)
    assert stage.found() == [("warning", "suspect", "users")]
    assert stage.text("suspect") == "users u2 (host-a, process 100) has not been heard of for 8 s."


def test_when_most_fall_silent_it_is_the_registry_that_hears_little():
    stage = Stage()
    stage.speaking = {f"o{number}": orders(f"o{number}") for number in range(4)} | {"u1": users()}
    stage.queues[ORDERS] = replace(IDLE, consumers=4)
    stage.go_on(40)
    stage.speaking = {"o0": stage.speaking["o0"]}
    stage.go_on(GONE_AFTER_S + 40)
    assert stage.found() == [
        ("error", "hears_little", ""),
        *[("warning", "suspect", "orders")] * 3,
        ("warning", "suspect", "users"),
    ]
    assert stage.text("hears_little").startswith("Most instances fell silent at once: rather the registry")


# --- instances of one service that are not alike


def test_two_contracts_at_work_are_named(stage):
    stage.speaking["o2"] = orders("o2", contract="c-next")
    stage.queues[ORDERS] = replace(IDLE, consumers=2)
    stage.go_on(EVERY_S)
    assert stage.found() == [("warning", "contracts_differ", "orders"), ("info", "contract_unknown", "orders")]
    assert stage.text("contracts_differ") == "orders has instances with 2 contracts at work: c-next, c-orders."


def test_a_contract_that_the_registry_does_not_know_is_worth_a_word(stage):
    stage.speaking["o1"] = orders(contract="c-next")
    stage.go_on(EVERY_S)
    assert stage.found() == [("info", "contract_unknown", "orders")]


def test_different_settings_are_worth_a_word(stage):
    stage.speaking["o2"] = orders("o2", settings_digest="t")
    stage.queues[ORDERS] = replace(IDLE, consumers=2)
    stage.go_on(EVERY_S)
    assert stage.found() == [("info", "settings_differ", "orders")]


def test_a_suspect_does_not_count_among_those_that_differ(stage):
    stage.speaking["o2"] = orders("o2", settings_digest="t", contract="c-next", methods=("other",))
    stage.queues[ORDERS] = replace(IDLE, consumers=2)
    stage.go_on(EVERY_S)
    del stage.speaking["o2"]
    stage.go_on(SUSPECT_AFTER_S + EVERY_S)
    assert stage.found() == [("warning", "suspect", "orders")]


def test_two_services_of_one_name_clash(stage):
    stage.speaking["x1"] = orders("x1", contract="", methods=("paint",), settings_digest="s")
    stage.queues[ORDERS] = replace(IDLE, consumers=2)
    stage.go_on(EVERY_S)
    assert ("error", "name_clash", "orders") in stage.found()
    assert stage.text("name_clash") == (
        "Two services that have no method in common call themselves orders: rename one of them."
    )


@pytest.mark.parametrize("methods", [("get", "paint"), ()], ids=["one in common", "none at all"])
def test_services_with_a_method_in_common_or_with_none_do_not_clash(stage, methods):
    stage.speaking["x1"] = orders("x1", methods=methods)
    stage.go_on(EVERY_S)
    assert "name_clash" not in [code for _, code, _ in stage.found()]


# --- R and R_register


def test_a_promise_that_nobody_keeps_is_an_error(stage):
    stage.speaking["o1"] = orders(methods=("get",))
    stage.go_on(EVERY_S)
    assert stage.found() == [("error", "not_registered", "orders")]
    assert stage.text("not_registered") == "orders promises place, which none of its instances has."


def test_a_promise_that_one_instance_keeps_is_kept(stage):
    stage.speaking["o2"] = orders("o2", methods=("get",))
    stage.queues[ORDERS] = replace(IDLE, consumers=2)
    stage.go_on(EVERY_S)
    assert stage.found() == []


def test_a_method_that_nobody_promised_is_odd(stage):
    stage.speaking["o1"] = orders(methods=("get", "place", "paint"), contract="c-next")
    stage.go_on(EVERY_S)
    assert stage.found() == [("warning", "not_declared", "orders")]
    assert stage.text("not_declared") == "Instances of orders have paint, which the registry's contract does not know."


# --- unannounced, deaf


def test_a_reader_who_does_not_announce_itself_is_said_when_it_stays(stage):
    stage.queues[ORDERS] = replace(IDLE, consumers=3)
    stage.go_on(STEADY_S)
    assert stage.found() == []  # the oldest of these samples still shows one
    stage.go_on(EVERY_S)
    assert stage.found() == [("warning", "unannounced", "orders")]
    assert stage.text("unannounced").startswith("2 more read the queue of orders than announce themselves")


def test_an_instance_that_does_not_read_its_queue_is_deaf(stage):
    stage.queues[ORDERS] = NOBODY
    stage.go_on(STEADY_S)
    assert stage.found() == []
    stage.go_on(EVERY_S)
    assert stage.found() == [("error", "deaf", "orders")]
    assert stage.text("deaf").startswith("1 of the instances of orders do not read its queue")


@pytest.mark.parametrize("consumers", [0, 3])
def test_nothing_is_said_of_readers_while_instances_come_and_go(stage, consumers):
    stage.queues[ORDERS] = replace(IDLE, consumers=consumers)
    stage.ear.hear(orders(beat=1000, state="left"))
    for number in range(2, 8):
        stage.speaking = {"u1": users(), f"o{number}": orders(f"o{number}", slot="1", started_s=number)}
        stage.go_on(4)
        assert stage.found() == [], number


def test_one_that_drains_need_not_read_its_queue(stage):
    stage.speaking["o1"] = orders(state="draining")
    stage.queues[ORDERS] = NOBODY
    stage.go_on(40)
    assert stage.found() == []


def test_a_suspect_may_read_its_queue_or_not(stage):
    stage.speaking["o2"] = orders("o2", every_ms=60_000)
    stage.go_on(EVERY_S)
    del stage.speaking["o2"]
    for consumers in (1, 2):
        stage.queues[ORDERS] = replace(IDLE, consumers=consumers)
        stage.go_on(60 * 3 + 60)
        assert stage.found() == [("warning", "suspect", "orders")], consumers


def test_a_service_without_methods_reads_no_such_queue(stage):
    stage.speaking["g1"] = telling("gateway", "g1")
    stage.go_on(40)
    assert stage.found() == []


def test_nobody_is_deaf_while_the_broker_does_not_answer(stage):
    stage.queues, stage.source = {}, "none"
    stage.go_on(40)
    assert stage.found() == []


def test_one_that_hangs_is_still_said_to_read_when_it_is_gone(stage):
    stage.speaking["o2"] = orders("o2")
    stage.queues[ORDERS] = replace(IDLE, consumers=2)
    stage.go_on(40)
    del stage.speaking["o2"]
    stage.go_on(GONE_AFTER_S + EVERY_S + STEADY_S + EVERY_S)
    assert stage.found() == [("warning", "unannounced", "orders")]


# --- queue_grows, consumer_stuck


def grow(stage, by, seconds, **state):
    for _ in range(round(seconds / EVERY_S)):
        before = stage.queues[ORDERS]
        stage.queues[ORDERS] = replace(before, ready=before.ready + by, **state)
        stage.go_on(EVERY_S)


def test_a_queue_that_grows_all_the_time_is_said(stage):
    grow(stage, 3, GROWING_S + EVERY_S)
    assert stage.found() == [("warning", "queue_grows", "orders")]
    assert stage.text("queue_grows") == "rpc-orders grew from 0 to 48 messages in 30 s."


def test_a_queue_that_shrank_once_does_not_grow(stage):
    grow(stage, 10, 20)
    grow(stage, -1, EVERY_S)
    grow(stage, 10, 20)
    assert stage.found() == []


@pytest.mark.parametrize(("messages", "found"), [(MUCH - 1, []), (MUCH, [("warning", "queue_grows", "orders")])])
def test_a_few_messages_are_no_growth(stage, messages, found):
    grow(stage, messages, EVERY_S)
    assert stage.found() == found


def test_a_queue_of_events_belongs_to_its_subscriber(stage):
    stage.queues[EVENTS] = IDLE
    stage.go_on(40)
    assert stage.found() == []
    stage.queues[EVENTS] = replace(IDLE, ready=50)
    stage.go_on(EVERY_S)
    assert stage.found() == [("warning", "queue_grows", "users")]


def test_of_a_queue_that_was_not_there_all_the_time_nothing_is_said(stage):
    stage.queues[EVENTS] = replace(IDLE, ready=50, unacked=1)
    stage.go_on(GROWING_S)
    assert stage.found() == []


def test_other_queues_are_nobodys_business(stage):
    stage.queues["somebody-elses"] = replace(IDLE, unacked=1)
    stage.go_on(40)
    stage.queues["somebody-elses"] = replace(IDLE, unacked=1, ready=50)
    stage.go_on(EVERY_S)
    assert stage.found() == []


def test_a_consumer_that_acknowledges_nothing_of_what_it_has_is_stuck(stage):
    stage.queues[ORDERS] = replace(IDLE, unacked=2)
    stage.go_on(GROWING_S)
    assert stage.found() == []
    stage.go_on(2 * EVERY_S)
    assert stage.found() == [("error", "consumer_stuck", "orders")]
    assert stage.text("consumer_stuck") == (
        "The consumers of rpc-orders have acknowledged nothing for 30 s, with messages there."
    )


@pytest.mark.parametrize(
    "state",
    [dict(unacked=0), dict(unacked=1, consumers=0), dict(unacked=None, acked=None)],
    ids=["nothing to do", "no consumer", "the source does not tell"],
)
def test_who_has_nothing_or_is_not_known_is_not_stuck(stage, state):
    stage.queues[USERS] = replace(IDLE, **state)
    stage.go_on(40)
    assert "consumer_stuck" not in [code for _, code, _ in stage.found()]


def test_one_acknowledgement_in_all_the_time_is_work(stage):
    stage.queues[ORDERS] = replace(IDLE, unacked=2)
    stage.go_on(20)
    stage.queues[ORDERS] = replace(IDLE, unacked=2, acked=101)
    stage.go_on(20)
    assert stage.found() == []


# --- binding_lost


def test_a_binding_that_the_broker_forgot_is_an_error(stage):
    stage.bindings = frozenset({binding_of("users")})
    stage.go_on(EVERY_S)
    assert stage.found() == [("error", "binding_lost", "orders")]
    assert stage.text("binding_lost") == (
        "The broker has no binding of rpc-orders to nameko-rpc by orders.*: "
        "start an instance of orders anew, which declares it."
    )


def test_it_is_said_all_the_time_not_only_between_two_beats(stage):
    stage.bindings = frozenset()
    stage.go_on(EVERY_S)
    stage.ear.pass_s(1).hear(orders(beat=999))
    assert stage.found() == [("error", "binding_lost", "orders")]


def test_a_new_instance_has_a_moment_to_declare_its_queues():
    stage = Stage()
    stage.bindings = frozenset()
    stage.go_on(DECLARED_S + 1)
    assert stage.found() == []
    stage.go_on(EVERY_S)
    assert stage.found() == [("error", "binding_lost", "orders")]


@pytest.mark.parametrize("source", ["amqp", "none"])
def test_no_binding_is_missed_where_the_source_does_not_tell_them(stage, source):
    stage.source, stage.bindings = source, frozenset()
    stage.go_on(EVERY_S)
    assert stage.found() == []


def test_one_that_drains_or_is_suspect_misses_no_binding(stage):
    stage.bindings = frozenset()
    stage.speaking["o1"] = orders(state="draining")
    stage.go_on(EVERY_S)
    assert stage.found() == []
    del stage.speaking["o1"]
    stage.go_on(SUSPECT_AFTER_S + EVERY_S)
    assert "binding_lost" not in [code for _, code, _ in stage.found()]
