"""What somebody of the desk reads first: what was asked, tried, offered and done. Pure: no I/O."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row

ASKED_MOST, LENGTH = 5, 200

_WORDS = {
    "en": {"why": "Why", "asked": "Asked", "answered": "Answered about", "offered": "Offered", "open": "Now asked"},
    "zh": {"why": "原因", "asked": "客户提问", "answered": "已答复", "offered": "已提议", "open": "最新提问"},
}


def summary_of(language: str, reason: str, messages: Iterable[Row[Any]], actions: Sequence[Row[Any]]) -> list[str]:
    """Of a conversation's messages and actions, the oldest first."""
    words = _WORDS[language]
    said = list(messages)
    asked = [each.text for each in said if each.sender == "customer"]
    answered = list(dict.fromkeys(each.intent for each in said if each.sender == "assistant" and each.intent))
    lines = [f"{words['why']}: {reason}"] if reason else []
    lines += [f"{words['asked']}: {_short(text)}" for text in asked[:-1][: ASKED_MOST - 1]]
    lines += [f"{words['open']}: {_short(text)}" for text in asked[-1:]]
    lines += [f"{words['answered']}: {', '.join(answered)}"] if answered else []
    lines += [f"{words['offered']}: {_short(each.summary)} [{_state(each)}]" for each in actions]
    return lines


def _state(action: Row[Any]) -> str:
    return f"{action.status}, {action.reason_code}" if action.reason_code else str(action.status)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LENGTH else text[: LENGTH - 1] + "…"
