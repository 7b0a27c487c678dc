"""What risk keeps about customers: decisions can be shown, tried and counted as before, and name nobody."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from chassis.db import shift_clock
from services.risk.models import Footprint, Screening
from tests.privacy import ANNA, BEN, counted, erased, pruner, still_open, told
from tests.risk import enact, operator, rule, rules, service_on, subject

WORDS = ("anna@x.example", "tok_visa", "Street 1", "DE89")


@pytest.fixture
def risk(open_database):
    return service_on(open_database("risk"))


def screen(risk, of, **more):
    known = dict(email="anna@x.example", card="tok_visa", payee="DE89", address="Street 1", country="NL")
    return risk.screen(subject=subject(of, **(known | more)), key=f"saga-{of}:screen")


def bens(risk):
    return screen(risk, "b1", customer_id="ben", email=BEN.email)


def kept(risk):
    """All that any table holds, as text."""
    with risk.db.read() as session:
        tables = (Screening.__table__, Footprint.__table__)
        return repr([tuple(row) for table in tables for row in session.execute(select(table))])


def test_a_customer_is_told_decisions_and_what_counts_but_not_by_which_rules(risk):
    screen(risk, "a1")
    bens(risk)
    assert counted(risk, ANNA) == {"decision": 1, "footprint": 5}
    (decision,) = told(risk, ANNA)["decision"]
    assert (decision["decision"], decision["subject"]["card"]) == ("accept", "tok_visa")
    assert {"reasons", "inputs", "score", "shadows"} & set(decision) == set()


def test_decisions_of_who_left_name_nobody_and_can_still_be_shown_tried_and_replayed(risk):
    live = rule("always", 'email != "x" && amount > 0', score=1)
    enact(risk, live, rule("shade", 'email != "y"', shadow=True))
    mine, other = screen(risk, "a1", address="Elsewhere 2"), bens(risk)
    before, others = risk.screening(mine.id), risk.screening(other.id)
    checked = risk.check(rules(live))
    assert erased(risk, ANNA) == {"decision": 1, "footprint": 5}
    after = risk.screening(mine.id)
    gone = after.subject
    assert (gone.email, gone.card, gone.payee, gone.address) == ("", None, None, None)
    assert (after.subject.amount, after.subject.customer_id) == (before.subject.amount, "anna")
    assert after.inputs == {**before.inputs, "email": ""}
    assert (after.screening.reasons[0].rule, after.screening.reasons[0].values["email"]) == ("always", "")
    assert after.shadows[0].reasons[0].values["email"] == ""
    assert risk.screening(other.id) == others
    assert "anna@" not in kept(risk)
    assert "Elsewhere 2" not in kept(risk)
    assert risk.check(rules(live)) == checked
    assert risk.replay(mine.id).decision == mine.decision
    again = risk.erase(ANNA, key="again").rows
    assert again["footprint"] == 0


def test_decisions_of_code_from_before_the_column_are_found_by_their_subject(risk):
    mine, other = screen(risk, "a1"), bens(risk)
    with risk.db.write() as session:
        session.execute(update(Screening).values(customer_id=None))
    assert erased(risk, ANNA)["decision"] == 1
    assert (risk.screening(mine.id).subject.email, risk.screening(other.id).subject.email) == ("", BEN.email)


def test_an_open_review_refuses_and_a_decided_one_loses_its_words(risk):
    enact(risk, rule("look", "true", action="review"))
    screen(risk, "a1")
    (review,) = risk.reviews().items
    assert still_open(risk, ANNA) == [f"review {review.id}"]
    eve = service_on(risk.db, operator("eve"))
    eve.claim(review.id, key="c")
    eve.approve(review.id, "Anna rang me up", key="a")
    assert told(risk, ANNA)["review"][0]["state"] == "approved"
    assert erased(risk, ANNA) == {"decision": 1, "footprint": 5, "review": 1}
    (after,) = risk.reviews("approved").items
    assert (after.reason, after.amount, after.approvals) == ("", review.amount, ["eve"])


def test_who_was_denied_stays_denied(risk):
    boss = service_on(risk.db, operator("eve"))
    boss.deny("email", "Anna@x.example", "fraud", key="d1")
    boss.deny("customer", "anna", "fraud", key="d2")
    boss.deny("email", BEN.email, "fraud", key="d3")
    assert counted(risk, ANNA) == {"denial": 2}
    before = boss.denied()
    assert erased(risk, ANNA) == {}
    assert boss.denied() == before


def test_decisions_and_known_payees_go_by_their_days_and_not_before(risk):
    mine = screen(risk, "a1")
    prune = pruner(risk.db, risk, decision=40, footprint=40)
    shift_clock(timedelta(days=39, hours=23))
    assert prune.prune() == 0
    shift_clock(timedelta(days=40, hours=1))
    assert (prune.prune(), prune.prune()) == (2, 0)  # the decision, and that the payee is known
    assert risk.screening(mine.id).subject.email == ""
    with risk.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Footprint)) == 4
