"""What the rules that come with the shop find in a history with known fraud: the figures that docs/risk.md states."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from chassis.db import shift_clock
from chassis.errors import ServiceError
from tests.conftest import ROOT
from tests.risk import service_on
from tests.risk_history import SEED, history


@pytest.fixture
def stopped(open_database):
    """subject id -> whether it was not simply accepted, for all of the history, screened at its own time."""
    risk, found = service_on(open_database("risk")), {}
    for each in history(SEED):
        shift_clock(each.at - datetime.now(UTC))
        try:
            found[each.subject.id] = risk.screen(subject=each.subject, key=each.subject.id).decision != "accept"
        except ServiceError:
            found[each.subject.id] = True
    return found


SIZES = {
    "mule": 32,
    "stolen_card": 28,
    "below_the_threshold": 20,
    "drained_at_night": 12,
    "new_account_emptied": 8,
}
FOUND = {"mule": 16, "stolen_card": 16, "below_the_threshold": 12, "new_account_emptied": 4}


def test_the_history_is_the_same_each_time():
    made = history(SEED)
    assert made == history(SEED)
    assert made != history(SEED + 1)
    assert Counter(each.pattern for each in made) == {"": 271, **SIZES}
    assert len({each.incident for each in made if each.incident}) == 20


def test_what_the_shops_own_rules_find_is_what_is_stated(stopped):
    made = history(SEED)
    of = Counter(each.pattern for each in made if each.pattern and stopped[each.subject.id])
    found = {each.incident for each in made if each.incident and stopped[each.subject.id]}
    honest = [each.subject for each in made if not each.incident]
    wrong = [subject for subject in honest if stopped[subject.id]]
    assert of == FOUND
    assert Counter(incident.rsplit("-", 1)[0] for incident in found) == dict.fromkeys(FOUND, 4)
    assert (len(wrong), len(honest)) == (7, 271)
    assert all(subject.amount.amount > 200_000 for subject in wrong)


def test_the_document_states_these_figures():
    text = (ROOT / "docs" / "risk.md").read_text()
    for pattern, size in SIZES.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{pattern}` "))
        assert row.split("|")[3:5] == [f" {4 if pattern in FOUND else 0} of 4 ", f" {FOUND.get(pattern, 0)} of {size} "]
    assert "48 of 100" in text
    assert "7 of 271" in text
