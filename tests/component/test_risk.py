"""risk on a real database: everything is decided once, windows are exact, and a decision can be shown and replayed."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from nameko.standalone.rpc import ServiceRpcProxy
from sqlalchemy import func, insert, select

from chassis.db import WorkerDatabase, now, shift_clock
from chassis.errors import ServiceError
from chassis.prune import BATCH, Pruner
from chassis.types import Caller, Money
from contracts.risk import Assessment
from services.risk import features
from services.risk.domain import FEATURES
from services.risk.models import Footprint, Review, Screening
from services.risk.service import RiskService
from tests.risk import enact, operator, rule, rules, service_on, staff, subject
from tests.shop import in_green_threads

COUNTED = [rule("always", "true")]


@pytest.fixture
def database(open_database):
    return open_database("risk")


@pytest.fixture
def risk(database):
    return service_on(database)


def inputs_of(risk, screening):
    return risk.screening(screening.id).inputs


def screen(risk, of="s1", **more):
    return risk.screen(subject=subject(of, **more), key=f"saga-{of}:assess_risk")


def unscreen(risk, of="s1", **more):
    risk.unscreen(subject=subject(of, **more), key=f"saga-{of}:assess_risk")


def features_of(risk, of, *names, **more):
    known = inputs_of(risk, screen(risk, of, **more))
    return tuple(known[name] for name in names)


def rows(database):
    """How many decisions, footprints and reviews there are."""
    with database.read() as session:
        return tuple(
            session.scalar(select(func.count()).select_from(table)) for table in (Screening, Footprint, Review)
        )


def order(order_id, amount=1000, customer_id="anna", country="DE", currency="EUR"):
    return dict(
        order_id=order_id,
        customer_id=customer_id,
        email=f"{customer_id}@x.example",
        amount=Money(amount=amount, currency=currency),
        country=country,
        key=f"saga-{order_id}:assess_risk",
    )


# --- deciding


def test_an_ordinary_order_is_accepted_and_kept_with_all_it_went_by(risk, database):
    kept = screen(risk, country="NL", card="tok_visa")
    assert (kept.decision, kept.score, kept.reasons, kept.rules_version) == ("accept", 0, [], 1)
    shown = risk.screening(kept.id)
    assert (shown.screening, shown.subject, shown.shadows) == (kept, subject(country="NL", card="tok_visa"), [])
    assert shown.inputs.keys() == FEATURES.keys()
    assert (shown.inputs["customer_count_1m"], shown.inputs["card_amount_30d"]) == (1, 1000)
    assert (shown.inputs["payee_count_30d"], shown.inputs["account_age_days"]) == (0, -1)
    assert rows(database) == (1, 2, 0)


def test_a_refusal_gives_its_reasons_and_stays_for_staff_to_see(risk, database):
    for _ in range(2):
        with pytest.raises(ServiceError) as refusal:
            screen(risk, amount=5_000_001)
        assert refusal.value.code == "risk.refused"
        assert refusal.value.message == "This order is above the amount that we can accept online."
        assert refusal.value.details == {"reasons": ["amount_too_large", "amount_large", "much_spent"]}
    assert rows(database) == (1, 1, 0)
    (kept,) = risk.screenings("s1")
    assert kept.screening.decision == "refuse"
    assert kept.screening.reasons[0].values == {"amount": 5_000_001}


def test_a_repeat_answers_the_same_and_counts_once(risk, database):
    first = screen(risk)
    assert screen(risk) == first
    assert features_of(risk, "s2", "customer_count_1h") == (2,)
    assert rows(database) == (2, 2, 0)
    with pytest.raises(ServiceError) as refusal:
        screen(risk, amount=7)
    assert refusal.value.code == "command.key_reused"
    assert rows(database) == (2, 2, 0)


def test_a_late_screening_after_its_undo_is_refused_and_leaves_no_row(risk, database):
    unscreen(risk)
    with pytest.raises(ServiceError) as refusal:
        screen(risk)
    assert refusal.value.code == "saga.fenced"
    assert rows(database) == (0, 0, 0)


def test_only_services_may_ask_for_a_decision(database, risk):
    screen(risk)
    for caller in (Caller(customer_id="anna", roles=("customer",)), staff("sam"), operator("olga")):
        for method in ("screen", "unscreen"):
            with pytest.raises(ServiceError) as refusal:
                getattr(service_on(database, caller), method)(subject=subject(), key="saga-s1:assess_risk")
            assert refusal.value.code == "auth.forbidden"
    assert rows(database) == (1, 1, 0)
    assert features_of(risk, "s2", "customer_count_1h") == (2,)


# --- windows


@pytest.mark.parametrize(("window", "seconds"), [("1m", 60), ("1h", 3600), ("24h", 86_400), ("30d", 30 * 86_400)])
def test_a_window_ends_to_the_second(risk, window, seconds):
    screen(risk, "s1", amount=10)
    names = (f"customer_count_{window}", f"customer_amount_{window}")
    shift_clock(timedelta(seconds=seconds - 5))
    assert features_of(risk, "s2", *names, amount=7) == (2, 17)
    shift_clock(timedelta(seconds=seconds + 1))
    assert features_of(risk, "s3", *names, amount=1) == (2, 8)


def test_each_dimension_counts_its_own_values(risk):
    screen(risk, "s1", customer_id="anna", card="c1", account_id="a1", payee="p1", address="Street 1")
    screen(risk, "s2", customer_id="berta", card="c1", account_id="a2", payee="p1", address="STREET  1")
    names = [f"{name}_count_1h" for name in ("customer", "card", "account", "payee", "address")]
    seen = features_of(risk, "s3", *names, customer_id="anna", card="c1", account_id="a2", address="street 1")
    assert seen == (2, 3, 2, 0, 3)


def test_money_counts_in_its_own_currency_and_a_count_in_any(risk):
    screen(risk, "s1", amount=5000)
    screen(risk, "s2", amount=70, currency="JPY")
    names = ("customer_count_1h", "customer_amount_1h")
    assert features_of(risk, "s3", *names, amount=1) == (3, 5001)
    assert features_of(risk, "s4", *names, amount=1, currency="JPY") == (4, 71)


def test_what_is_taken_back_counts_in_no_window(risk):
    screen(risk, "s1", card="c1")
    unscreen(risk, "s1", card="c1")
    unscreen(risk, "s1", card="c1")
    names = ("customer_count_30d", "card_count_30d", "customer_failed_24h")
    assert features_of(risk, "s2", *names, card="c1") == (1, 1, 0)


def test_what_was_refused_counts_as_a_failed_attempt_only(risk):
    with pytest.raises(ServiceError):
        screen(risk, "s1", amount=5_000_001, card="c1")
    names = ("customer_count_24h", "customer_failed_1h", "customer_failed_24h", "card_failed_24h")
    assert features_of(risk, "s2", *names, card="c1") == (1, 1, 1, 1)
    shift_clock(timedelta(seconds=3601))
    assert features_of(risk, "s3", *names, card="c1") == (2, 0, 1, 1)


def test_a_payee_is_new_to_each_customer_once(risk):
    new = [
        features_of(risk, "s1", "new_payee", payee="p1"),
        features_of(risk, "s2", "new_payee", payee="p1"),
        features_of(risk, "s3", "new_payee", payee="p1", customer_id="berta"),
        features_of(risk, "s4", "new_payee"),
    ]
    assert new == [(True,), (False,), (True,), (False,)]
    shift_clock(timedelta(days=400))
    assert features_of(risk, "s5", "new_payee", payee="p1") == (False,)


def test_how_many_customers_use_one_card_within_a_day(risk):
    for n, customer in enumerate(("anna", "berta", "berta", "clara")):
        screen(risk, f"s{n}", customer_id=customer, card="c1")
    assert features_of(risk, "s9", "card_customers_24h", customer_id="anna", card="c1") == (3,)
    shift_clock(timedelta(seconds=86_401))
    assert features_of(risk, "s10", "card_customers_24h", customer_id="dora", card="c1") == (1,)


def test_a_series_is_just_below_the_threshold_of_the_rules(risk):
    enact(risk, *COUNTED, just_below=1000)
    for n, amount in enumerate((899, 900, 999, 1000)):
        screen(risk, f"s{n}", amount=amount)
    assert features_of(risk, "s8", "customer_just_below_24h", amount=950) == (3,)
    assert features_of(risk, "s9", "customer_just_below_24h", amount=1000) == (3,)
    shift_clock(timedelta(seconds=86_401))
    assert features_of(risk, "s10", "customer_just_below_24h", amount=950) == (1,)


def test_one_who_orders_all_day_costs_no_more_than_others(risk, database):
    with database.write() as session:
        at = now(session)
        crowd = dict(screening_id="x", dimension="customer", value="anna", customer_id="anna")
        one = dict(crowd, amount=10, currency="EUR", state="counts", at=at)
        session.execute(insert(Footprint), [one] * (features.NEWEST + 1))
    assert features_of(risk, "s1", "customer_count_1h", "customer_amount_1h", amount=10) == (1001, 10_010)


def test_what_no_window_sees_any_more_is_removed_and_a_known_payee_stays_known(risk, database):
    screen(risk, "s1", payee="p1", card="c1")
    with database.write() as session:
        crowd = dict(screening_id="x", dimension="customer", value="bob", customer_id="bob", amount=10, currency="EUR")
        session.execute(insert(Footprint), [dict(crowd, state="counts", at=now(session))] * (2 * BATCH))
    prune = pruner_of(database)
    shift_clock(timedelta(days=30))
    screen(risk, "s2")
    assert prune() == 0
    shift_clock(timedelta(days=30, hours=1, minutes=1))
    assert prune() == 2 * BATCH + 3
    assert prune() == 0
    assert rows(database) == (2, 2, 0)
    assert features_of(risk, "s3", "new_payee", "customer_count_30d", payee="p1") == (False, 2)


def container():
    return SimpleNamespace(config={"inbox_retention_s": 400 * 86_400}, service_name="risk")


def pruner_of(database):
    made = Pruner(old=features.OUTDATED)
    made.container, made.sessions = container(), database
    made.setup()
    return made.prune


def test_two_screenings_of_one_customer_at_once_see_each_other(sessions):
    """Eight at once, of one customer and one card: each counts those before it, whichever order they took."""
    shared = sessions("risk")
    databases = [WorkerDatabase(shared.factory) for _ in range(8)]
    services = [service_on(database) for database in databases]
    kept = in_green_threads(
        [lambda n=n, risk=risk: screen(risk, f"s{n}", amount=10, card="c1") for n, risk in enumerate(services)]
    )
    counts = sorted(inputs_of(services[0], each)["customer_count_1h"] for each in kept)
    cards = sorted(inputs_of(services[0], each)["card_amount_1h"] for each in kept)
    for database in databases:
        database.close()
    assert counts == [1, 2, 3, 4, 5, 6, 7, 8]
    assert cards == [10, 20, 30, 40, 50, 60, 70, 80]


# --- rules


def test_rules_go_from_draft_through_shadow_to_live_and_back(risk):
    def states():
        return {each.version: each.state for each in risk.rule_set().versions}

    def advance(version, state):
        return risk.advance(version=version, state=state, key=f"{version}-{state}-{len(calls)}{calls.append(1)}")

    calls = []
    risk.draft(content=rules(rule("a", "amount > 1")), key="d2")
    risk.draft(content=rules(rule("b", "amount > 2")), key="d3")
    assert states() == {1: "live", 2: "draft", 3: "draft"}
    for version, state in ((2, "live"), (1, "retired"), (1, "shadow")):
        with pytest.raises(ServiceError) as refusal:
            advance(version, state)
        assert refusal.value.code == "risk.rules_state"
    assert states() == {1: "live", 2: "draft", 3: "draft"}
    advance(2, "shadow")
    advance(3, "shadow")
    assert states() == {1: "live", 2: "draft", 3: "shadow"}
    assert risk.rule_set().version == 1
    advance(3, "live")
    assert states() == {1: "retired", 2: "draft", 3: "live"}
    assert risk.rule_set().version == 3
    advance(1, "live")
    assert states() == {1: "live", 2: "draft", 3: "retired"}
    with pytest.raises(ServiceError) as refusal:
        advance(9, "live")
    assert refusal.value.code == "risk.no_such_rules"


def test_a_draft_that_does_not_compile_is_refused_and_not_kept(risk):
    with pytest.raises(ServiceError) as refusal:
        risk.draft(content=rules(rule("mine", "weather > 1")), key="d")
    assert (refusal.value.code, refusal.value.details) == ("risk.bad_rule", {"rule": "mine"})
    assert [each.version for each in risk.rule_set().versions] == [1]


def test_a_set_in_shadow_is_recorded_and_decides_nothing(risk):
    risk.draft(content=rules(rule("never", "true", action="refuse")), key="d")
    risk.advance(version=2, state="shadow", key="s")
    kept = screen(risk)
    assert (kept.decision, kept.rules_version) == ("accept", 1)
    (shadow,) = risk.screening(kept.id).shadows
    assert (shadow.decision, shadow.version, [each.rule for each in shadow.reasons]) == ("refuse", 2, ["never"])


def test_a_draft_is_tried_on_the_last_kept_decisions(risk):
    kept = [screen(risk, f"s{n}", amount=amount) for n, amount in enumerate((10, 20, 30))]
    tried = risk.check(content=rules(rule("a", "amount >= 20", action="review")))
    assert (tried.compared, tried.changed) == (3, 2)
    assert {(each.decision_id, each.before, each.after) for each in tried.examples} == {
        (kept[1].id, "accept", "review"),
        (kept[2].id, "accept", "review"),
    }
    assert risk.check(content=rules(rule("a", "amount >= 20", action="review")), last=1).compared == 1
    assert [each.version for each in risk.rule_set().versions] == [1]


def test_a_kept_decision_is_replayed_the_same_after_the_rules_and_the_windows_have_changed(risk):
    enact(risk, rule("a", "customer_count_1h >= 2", score=100), rule("b", "hour >= 0", score=1))
    screen(risk, "s1")
    kept = screen(risk, "s2")
    assert (kept.decision, kept.score) == ("review", 101)
    enact(risk, rule("c", "true", action="refuse"))
    shift_clock(timedelta(days=90))
    assert risk.replay(kept.id) == kept


def test_operators_alone_handle_rules_and_staff_alone_sees_decisions(database, risk):
    kept = screen(risk)
    anna, sam = (service_on(database, who) for who in (Caller(customer_id="anna", roles=("customer",)), staff("sam")))
    content = rules(rule("a", "true"))
    for_operators = [
        lambda of: of.rule_set(),
        lambda of: of.draft(content=content, key="k1"),
        lambda of: of.check(content=content),
        lambda of: of.advance(version=1, state="live", key="k2"),
        lambda of: of.denied(),
        lambda of: of.deny(kind="email", value="a@b", reason="because", key="k3"),
        lambda of: of.allow(kind="email", value="blocked@rialto.example", key="k4"),
    ]
    for_staff = [
        lambda of: of.screening(kept.id),
        lambda of: of.screenings("s1"),
        lambda of: of.replay(kept.id),
        lambda of: of.get("s1"),
        lambda of: of.reviews(),
        lambda of: of.claim(review_id="r", key="k5"),
        lambda of: of.approve(review_id="r", reason="because", key="k6"),
        lambda of: of.refuse(review_id="r", reason="because", key="k7"),
    ]
    for call, who in [(call, sam) for call in for_operators] + [(call, anna) for call in (*for_operators, *for_staff)]:
        with pytest.raises(ServiceError) as refusal:
            call(who)
        assert refusal.value.code == "auth.forbidden"
    assert [each.version for each in risk.rule_set().versions] == [1]
    assert [each.value for each in risk.denied()] == ["blocked@rialto.example"]


# --- the deny list


def test_the_deny_list_is_data(risk):
    assert risk.deny(kind="card", value="Tok_Stolen", reason="Reported.", key="d1").value == "tok_stolen"
    risk.deny(kind="card", value="tok_stolen", reason="Reported twice.", key="d2")
    assert [(each.kind, each.value, each.reason) for each in risk.denied()] == [
        ("card", "tok_stolen", "Reported twice."),
        ("email", "blocked@rialto.example", "The shop's example of a refusal."),
    ]
    with pytest.raises(ServiceError) as refusal:
        screen(risk, "s1", card="TOK_STOLEN", email="Blocked@rialto.example")
    assert refusal.value.details == {"reasons": ["deny_list"]}
    assert risk.screenings("s1")[0].inputs["denied_by"] == "card,email"
    risk.allow(kind="card", value="tok_stolen", key="a1")
    assert screen(risk, "s2", card="tok_stolen").decision == "accept"
    with pytest.raises(ServiceError) as refusal:
        risk.allow(kind="card", value="tok_stolen", key="a2")
    assert refusal.value.code == "risk.not_denied"


def test_an_empty_value_which_everything_unknown_would_match_is_not_denied(risk):
    with pytest.raises(ServiceError) as refusal:
        risk.deny(kind="card", value="  ", reason="Nothing.", key="d1")
    assert refusal.value.code == "request.invalid"
    assert screen(risk).decision == "accept"


# --- the old words, for sagas that began before there were reviews


def test_a_saga_of_old_is_answered_in_the_old_words_and_nobody_has_to_review_it(risk, database):
    assert risk.assess(**order("o1", amount=200_001)) == Assessment(
        order_id="o1", decision="review", reasons=["amount_large"]
    )
    assert risk.assess(**order("o1", amount=200_001)).decision == "review"
    assert rows(database) == (1, 1, 0)
    assert risk.get("o1") == Assessment(order_id="o1", decision="review", reasons=["amount_large"])
    risk.forget(**order("o1", amount=200_001))
    risk.forget(**order("o1", amount=200_001))
    assert features_of(risk, "s2", "customer_count_1h") == (1,)


def test_an_old_sagas_refusal_is_kept_and_repeated(risk, database):
    for _ in range(2):
        with pytest.raises(ServiceError) as refusal:
            risk.assess(**order("o1", amount=5_000_001))
        assert refusal.value.details == {"reasons": ["amount_too_large", "amount_large", "much_spent"]}
        risk.forget(**order("o1", amount=5_000_001))
    assert rows(database) == (1, 1, 0)


def test_an_order_that_nobody_assessed_is_not_found(risk):
    for ask in (risk.get, risk.screening, risk.replay):
        with pytest.raises(ServiceError) as refusal:
            ask("o1")
        assert refusal.value.code == "risk.not_found"


def test_a_stock_client_uses_it_over_the_broker(container_factory, migrated_config):
    container_factory(RiskService, migrated_config).start()
    with ServiceRpcProxy("risk", migrated_config, timeout=10) as proxy:
        money = {"amount": 200_001, "currency": "EUR"}
        about = {"kind": "order", "id": "o1", "customer_id": "anna", "amount": money}
        kept = proxy.screen(about, key="k1")
        assert (kept["decision"], kept["reasons"][0]["values"]) == ("review", {"amount": 200_001})
        (waiting,) = proxy.reviews()["items"]
        proxy.claim(waiting["id"], key="c1")
        assert proxy.approve(waiting["id"], "fine", key="a1")["state"] == "approved"
        assert proxy.replay(kept["id"]) == kept
