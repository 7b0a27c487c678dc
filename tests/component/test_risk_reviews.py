"""The review queue: one person at a time, two above an amount, an end in any case, and one event for each end."""

from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import select

from chassis.db import WorkerDatabase, shift_clock
from chassis.errors import ServiceError
from chassis.tables import outbox
from tests.risk import enact, rule, service_on, staff, subject
from tests.shop import in_green_threads

LARGE = 10_001
"""Above the four eyes' amount of tests/risk.py."""


@pytest.fixture
def database(open_database):
    return open_database("risk")


@pytest.fixture
def risk(database):
    """Where everything from 1000 on is in review."""
    made = service_on(database)
    enact(made, rule("look", "amount >= 1000", action="review"))
    return made


@pytest.fixture
def as_staff(risk, database):
    return lambda name: service_on(database, staff(name))


def waiting(risk, of="s1", amount=1000, **more):
    """The id of a review that is open."""
    kept = risk.screen(subject=subject(of, amount=amount, **more), key=f"{of}:assess_risk")
    assert kept.decision == "review"
    return next(each.id for each in risk.reviews(limit=100).items if each.decision_id == kept.id)


def told(database):
    """subject, sequence, approved and reason of each event that was published."""
    with database.read() as session:
        facts = [msgspec.json.decode(row.payload) for row in session.execute(select(outbox).order_by(outbox.c.id))]
    return [(fact["subject_id"], fact["sequence"], fact["approved"], fact["reason"]) for fact in facts]


def states(risk):
    return {
        state: [each.subject_id for each in risk.reviews(state=state).items]
        for state in ("open", "approved", "refused", "expired", "closed")
        if risk.reviews(state=state).items
    }


def refused(code, call, *args, **kwargs):
    with pytest.raises(ServiceError) as refusal:
        call(*args, **kwargs)
    assert refusal.value.code == code


def test_what_is_in_review_waits_with_its_reasons_the_oldest_first(risk):
    for n in range(3):
        waiting(risk, f"s{n}")
        shift_clock(timedelta(seconds=n + 1))
    risk.screen(subject=subject("small", amount=999), key="small")
    page = risk.reviews(limit=2)
    assert [each.subject_id for each in page.items] == ["s0", "s1"]
    assert [each.subject_id for each in risk.reviews(limit=2, cursor=page.next_cursor).items] == ["s2"]
    (first, _), last = page.items, risk.reviews(limit=2, cursor=page.next_cursor)
    assert last.next_cursor is None
    assert (first.state, first.needed, first.approvals, first.amount.amount) == ("open", 1, [], 1000)
    assert [(each.rule, each.values) for each in first.reasons] == [("look", {"amount": 1000})]
    assert first.expires_at - first.opened_at == timedelta(hours=1)
    refused("risk.bad_cursor", risk.reviews, cursor="x")


def test_a_repeated_screening_is_queued_once(risk):
    for _ in range(3):
        waiting(risk)
    assert states(risk) == {"open": ["s1"]}


@pytest.mark.parametrize(("word", "approved", "state"), [("approve", True, "approved"), ("refuse", False, "refused")])
def test_who_claimed_it_decides_and_that_is_told_once(risk, as_staff, database, word, approved, state):
    review, sam = waiting(risk), as_staff("sam")
    claimed = sam.claim(review_id=review, key="c")
    assert (claimed.claimed_by, claimed.state) == ("sam", "open")
    for _ in range(2):
        done = getattr(sam, word)(review_id=review, reason="I looked.", key="d")
        assert (done.state, done.reason, done.claimed_by) == (state, "I looked.", None)
    refused("risk.review_closed", getattr(sam, word), review_id=review, reason="Again.", key="e")
    refused("risk.review_closed", sam.claim, review_id=review, key="f")
    assert told(database) == [("s1", 1, approved, "I looked.")]
    assert states(risk) == {state: ["s1"]}


def test_nobody_decides_without_a_claim_and_nobody_takes_anothers(risk, as_staff, database):
    review, sam, sue = waiting(risk), as_staff("sam"), as_staff("sue")
    refused("risk.not_claimed", sam.approve, review_id=review, reason="Quick.", key="a")
    sam.claim(review_id=review, key="c1")
    refused("risk.claimed", sue.claim, review_id=review, key="c2")
    refused("risk.not_claimed", sue.refuse, review_id=review, reason="Not mine.", key="r")
    assert (told(database), states(risk)) == ([], {"open": ["s1"]})
    assert risk.reviews().items[0].claimed_by == "sam"


def test_a_claim_comes_back_when_its_time_is_over_and_can_be_prolonged(risk, as_staff, database):
    review, sam, sue = waiting(risk), as_staff("sam"), as_staff("sue")
    sam.claim(review_id=review, key="c1")
    shift_clock(timedelta(seconds=590))
    sam.claim(review_id=review, key="c2")
    shift_clock(timedelta(seconds=610))
    refused("risk.claimed", sue.claim, review_id=review, key="c3")
    shift_clock(timedelta(seconds=590 + 601))
    refused("risk.not_claimed", sam.approve, review_id=review, reason="Too late.", key="a1")
    assert sue.claim(review_id=review, key="c3").claimed_by == "sue"
    refused("risk.not_claimed", sam.approve, review_id=review, reason="Too late.", key="a2")
    assert told(database) == []
    assert sue.approve(review_id=review, reason="Mine now.", key="a3").state == "approved"


# --- four eyes


@pytest.mark.parametrize(("amount", "needed"), [(LARGE - 1, 1), (LARGE, 2)])
def test_above_an_amount_two_must_approve(risk, amount, needed):
    waiting(risk, amount=amount)
    assert risk.reviews().items[0].needed == needed


def test_two_different_ones_of_staff_approve_a_large_amount(risk, as_staff, database):
    review, sam, sue = waiting(risk, amount=LARGE), as_staff("sam"), as_staff("sue")
    sam.claim(review_id=review, key="c1")
    half = sam.approve(review_id=review, reason="It is fine.", key="a1")
    assert (half.state, half.approvals, half.claimed_by) == ("open", ["sam"], None)
    refused("risk.four_eyes", sam.claim, review_id=review, key="c2")
    refused("risk.not_claimed", sam.approve, review_id=review, reason="Twice.", key="a2")
    assert told(database) == []
    sue.claim(review_id=review, key="c3")
    whole = sue.approve(review_id=review, reason="It is.", key="a3")
    assert (whole.state, whole.approvals) == ("approved", ["sam", "sue"])
    assert told(database) == [("s1", 1, True, "It is.")]


def test_one_refusal_refuses_a_large_amount_also_after_an_approval(risk, as_staff, database):
    review, sam, sue = waiting(risk, amount=LARGE), as_staff("sam"), as_staff("sue")
    sam.claim(review_id=review, key="c1")
    sam.approve(review_id=review, reason="It is fine.", key="a1")
    sue.claim(review_id=review, key="c2")
    assert sue.refuse(review_id=review, reason="It is not.", key="r").state == "refused"
    assert told(database) == [("s1", 1, False, "It is not.")]


def test_nobody_of_staff_decides_on_their_own(risk, as_staff, database):
    review = waiting(risk, customer_id="sam")
    refused("risk.four_eyes", as_staff("sam").claim, review_id=review, key="c")
    assert (told(database), states(risk)) == ([], {"open": ["s1"]})


# --- the end


def test_what_nobody_decided_in_time_is_refused_once(risk, as_staff, database):
    review = waiting(risk)
    as_staff("sam").claim(review_id=review, key="c")
    shift_clock(timedelta(seconds=3590))
    risk.expire_reviews()
    assert (told(database), states(risk)) == ([], {"open": ["s1"]})
    shift_clock(timedelta(seconds=3601))
    refused("risk.review_closed", as_staff("sam").approve, review_id=review, reason="Late.", key="a")
    for _ in range(2):
        risk.expire_reviews()
    assert told(database) == [("s1", 1, False, "Nobody decided in time.")]
    assert states(risk) == {"expired": ["s1"]}


@pytest.mark.parametrize("end", ["refuse", "expire"])
def test_what_staff_refused_counts_as_a_failed_attempt_and_no_more_as_an_order(risk, as_staff, end):
    review, sam = waiting(risk), as_staff("sam")
    if end == "refuse":
        sam.claim(review_id=review, key="c")
        sam.refuse(review_id=review, reason="Fraud.", key="r")
    else:
        shift_clock(timedelta(seconds=3601))
        risk.expire_reviews()
    risk.unscreen(subject=subject(amount=1000), key="s1:assess_risk")
    after = risk.screening(risk.screen(subject=subject("s2"), key="s2").id).inputs
    assert (after["customer_count_24h"], after["customer_failed_24h"]) == (1, 1)


def test_an_undo_closes_the_review_and_nothing_is_told(risk, as_staff, database):
    review = waiting(risk)
    for _ in range(2):
        risk.unscreen(subject=subject(amount=1000), key="s1:assess_risk")
    assert states(risk) == {"closed": ["s1"]}
    refused("risk.review_closed", as_staff("sam").claim, review_id=review, key="c")
    shift_clock(timedelta(seconds=3601))
    risk.expire_reviews()
    assert told(database) == []


def test_two_reviews_of_one_subject_are_told_in_order(risk, as_staff, database):
    sam = as_staff("sam")
    for n in (1, 2):
        kept = risk.screen(subject=subject("s1"), key=f"k{n}")
        review = next(each.id for each in risk.reviews().items if each.decision_id == kept.id)
        sam.claim(review_id=review, key=f"c{n}")
        sam.approve(review_id=review, reason=f"Number {n}.", key=f"a{n}")
    assert told(database) == [("s1", 1, True, "Number 1."), ("s1", 2, True, "Number 2.")]


def test_of_many_who_claim_at_once_one_has_it_and_of_two_ends_one_counts(sessions):
    shared = sessions("risk")
    databases = [WorkerDatabase(shared.factory) for _ in range(6)]
    first = service_on(databases[0])
    enact(first, rule("look", "amount >= 1000", action="review"))
    review = waiting(first)

    def attempt(n):
        try:
            service_on(databases[n], staff(f"staff-{n}")).claim(review_id=review, key=f"c{n}")
        except ServiceError as exc:
            return exc.code
        return "claimed"

    assert sorted(in_green_threads([lambda n=n: attempt(n) for n in range(6)])) == ["claimed"] + ["risk.claimed"] * 5
    shift_clock(timedelta(seconds=3601))
    in_green_threads([service_on(database).expire_reviews for database in databases])
    assert told(databases[0]) == [("s1", 1, False, "Nobody decided in time.")]
    for database in databases:
        database.close()
