"""Several services asked the same: one page, and who was missing."""

import pytest

from chassis.errors import OutcomeUnknown, ServiceError, Unavailable
from chassis.gathering import gathered
from edge.gather import ask_all, ask_owner

NOT_HERE = ServiceError("sagas.not_found", "Not here.")
AWAY = Unavailable("orders", "no instance of it is running")
SILENT = OutcomeUnknown("orders", "it did not answer in time")


class Answer:
    def __init__(self, outcome):
        self.outcome = outcome

    def result(self):
        return said(self.outcome)


class Heard(Answer):
    """Writes down when it is waited for."""

    def __init__(self, name, order):
        super().__init__(name)
        self.order = order

    def result(self):
        self.order.append(f"hear {self.outcome}")
        return super().result()


def said(outcome):
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def asks(**outcomes):
    return {name: lambda outcome=outcome: Answer(outcome) for name, outcome in outcomes.items()}


def test_who_does_not_answer_is_named_beside_the_answers():
    answers, missing = ask_all({**asks(a=1, b=SILENT, c=3), "d": lambda: said(AWAY)})
    assert (answers, missing) == ({"a": 1, "c": 3}, ["b", "d"])


def test_all_are_asked_before_the_first_is_waited_for():
    order = []

    def ask(name):
        order.append(f"ask {name}")
        return Heard(name, order)

    answers, refusals, silent = gathered({**asks(c=NOT_HERE, d=SILENT), "a": lambda: ask("a"), "b": lambda: ask("b")})
    assert order == ["ask a", "ask b", "hear a", "hear b"]
    assert (answers, refusals, silent) == ({"a": "a", "b": "b"}, {"c": NOT_HERE}, {"d": SILENT})


def test_a_refusal_is_handed_on():
    with pytest.raises(ServiceError, match="bad_cursor"):
        ask_all(asks(a=1, b=ServiceError("sagas.bad_cursor", "No.")))


def test_if_nobody_answers_it_is_said_why():
    with pytest.raises(Unavailable):
        ask_all({"orders": lambda: said(AWAY)})


@pytest.mark.parametrize("others", [[], [NOT_HERE], [AWAY], [AWAY, NOT_HERE]])
def test_the_one_that_knows_it_answers(others):
    assert ask_owner([*others, "found"], said, "sagas.not_found") == "found"


@pytest.mark.parametrize(
    ("outcomes", "raised"),
    [
        ([NOT_HERE, NOT_HERE], NOT_HERE),
        ([AWAY, NOT_HERE], AWAY),  # it may be there
        ([SILENT, "found"], SILENT),  # it may have acted: nobody else is asked
        ([ServiceError("sagas.stale", "Look again."), "found"], ServiceError),
    ],
)
def test_otherwise_the_answer_is_that_of_the_one_that_counts(outcomes, raised):
    with pytest.raises(raised if isinstance(raised, type) else type(raised)) as failed:
        ask_owner(outcomes, said, "sagas.not_found")
    assert isinstance(raised, type) or failed.value is raised
