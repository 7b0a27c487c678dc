"""docs/model.md says what the models are, and which code each of their actions stands for."""

import ast
import re

import pytest

from tests.architecture.source import ROOT
from tests.model.flaws import FLAWS
from tests.model.models import LARGER, MODELS, SHOWN
from tests.model.outbox import OUTBOX_FLAWS, OUTBOX_RULES
from tests.model.rules import RULES, SEEN_FROM_OUTSIDE
from tests.model.test_small_models import SMALL, SMALL_SHOWN
from tests.model.wait import WAIT_FLAWS, WAIT_RULES

TEXT = (ROOT / "docs/model.md").read_text()
ROWS = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in TEXT.splitlines() if line[:1] == "|"}


def actions_of(module):
    """Its methods that yield or make transitions: what returns `Transitions`, or a label with a state."""
    tree = ast.parse((ROOT / module).read_text())
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.returns]
    kinds = ("Transitions", "tuple[str, State]")
    return {each.name for each in functions if ast.unparse(each.returns) in kinds} - {
        "transitions",
        "drive",
        "wait_round",
        "serve",
    }


@pytest.mark.parametrize("module", sorted(set(re.findall(r"`(tests/model/\w+\.py):", TEXT))))
def test_every_action_is_in_the_table_with_the_code_it_stands_for(module):
    named = {name for row in ROWS for name in re.findall(f"`{module}:(\\w+)`", row[0])}
    assert actions_of(module) <= named


def test_functions_that_the_table_names_are_there():
    for path, name in re.findall(r"`([\w/]+\.py):(\w+)`", TEXT):
        names = {each.name for each in ast.walk(ast.parse((ROOT / path).read_text())) if hasattr(each, "name")}
        assert name in names, f"{path}:{name}"


def test_the_sizes_are_those_that_the_tests_find():
    found = {name: (whole.states, whole.depth) for name, whole in (MODELS | LARGER).items()}
    found |= {name: (states, depth) for name, (_, states, depth) in SMALL.items()}
    stated = {(row[0].strip("*"), row[-2], row[-1]) for row in ROWS if row[0].strip("*") in found}
    assert stated == {(name, f"{states:,}", str(depth)) for name, (states, depth) in found.items()}


def test_the_invariants_are_stated():
    rules = SEEN_FROM_OUTSIDE | RULES | WAIT_RULES | OUTBOX_RULES
    assert set(rules.items()) <= {row[:2] for row in ROWS}


def test_the_flaws_are_stated_with_the_lengths_of_their_traces():
    for flaw, shown in SHOWN.items():
        first, outside = shown.first, shown.outside or ("none", "")
        assert (FLAWS[flaw], first[0], str(first[1]), outside[0], str(outside[1])) in ROWS
    for flaw, sentence in (WAIT_FLAWS | OUTBOX_FLAWS).items():
        assert (sentence, SMALL_SHOWN[flaw][0], str(SMALL_SHOWN[flaw][1])) in ROWS
