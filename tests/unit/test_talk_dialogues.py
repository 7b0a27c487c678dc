"""Whole dialogues with the assistant: see tests/support/dialogues.py."""

import json
import re

import pytest

from tests.support.dialogues import FakeAnswers, Player, all_of_them, holds
from tests.support.shop import id_of

DIALOGUES = list(all_of_them())
YES_OR_NO = ("confirm", "decline", "hand_over", "unanswered")


def name_of(dialogue):
    return f"{dialogue['language']}-{dialogue['file']}-{dialogue['name']}"


def check(player, turn, answer):
    expect = player.filled(turn.get("expect", {}))
    said = f"\n> {player.filled(turn['say'])}\n{answer.text}\n{answer.proposals}"
    for part in expect.get("text", ()):
        if isinstance(player.answers, FakeAnswers) or not re.search("is about |关于|_time", part):
            assert part in answer.text, f"{part!r} is missing{said}"
    for part in expect.get("not_text", ()):
        assert part not in answer.text, said
    for name in YES_OR_NO:
        assert bool(getattr(answer, name)) == expect.get(name, False), f"{name}{said}"
    assert len(answer.withdraw) == expect.get("withdraw", 0), f"withdraw{said}"
    wanted = expect.get("proposals", [])
    assert len(answer.proposals) == len(wanted), f"proposals{said}"
    for each, proposal in zip(wanted, answer.proposals, strict=True):
        assert proposal.kind == each["kind"], said
        order = id_of(each["order"]) if "order" in each else None
        assert proposal.order_id == order, said
        assert holds(each.get("wish", {}), proposal.wish), said
        assert proposal.summary
        assert proposal.summary in answer.text, said
    urls = [source.url for source in answer.sources]
    for url in expect.get("sources", ()):
        assert any(each.startswith(url) for each in urls), f"{url} is not in {urls}{said}"
    for name in ("topic", "intent"):
        if name in expect:
            assert getattr(answer, name) == expect[name], said


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=name_of)
def test_dialogue(dialogue):
    player = Player(dialogue)
    for turn in dialogue["turns"]:
        answer = player.say(turn)
        check(player, turn, answer)
        assert len(json.dumps(answer.memory)) <= 8000
        assert not re.search(r"\{\w*\}", answer.text)
    calls = [
        {"kind": each["kind"], "order": id_of(each["order"]) if "order" in each else None, "wish": each.get("wish", {})}
        for each in player.filled(dialogue.get("calls", []))
    ]
    assert holds(calls, player.calls), player.calls


def test_there_are_enough_in_both_languages():
    assert {name_of(each) for each in DIALOGUES if each["language"] == "zh"}
    assert len({name_of(each) for each in DIALOGUES}) == len(DIALOGUES)
