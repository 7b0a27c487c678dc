"""How the work of a function of a text grows with the text: the clock tells only how two runs compare."""

import time
from collections.abc import Callable
from typing import Any

LENGTH, RUNS = 8_000, 7
LINEAR = 3.0
"""Twice the text is at most so much more work; four times as much where each place is gone on from anew."""

HOSTILE = (
    "a",
    "a.",
    "a-",
    "a@",
    "a@a",
    "a@a.",
    "a@b.c@",
    "1",
    "1-",
    "1 ",
    "+1 ",
    "(0",
    "_",
    "%",
    "eyJ",
    "eyJ-",
    "eyJa.",
    "eyJa.a ",
    "tok_",
    "bearer",
    "bearer ",
    "://",
    "://:",
    ":",
    "?password=",
    "AB12",
    "AB12 ",
)
"""What texts are made of that begin like a secret, again and again, and are none."""


def growth(work: Callable[[str], Any], piece: str, before: str = "") -> float:
    """How much more work twice the text is, by the best of some runs of each."""
    short, long = (before + (piece * length)[:length] for length in (LENGTH, 2 * LENGTH))
    spent = [(_spent(work, short), _spent(work, long)) for _ in range(RUNS)]
    return min(each[1] for each in spent) / min(each[0] for each in spent)


def _spent(work: Callable[[str], Any], text: str) -> int:
    began = time.thread_time_ns()
    work(text)
    return max(time.thread_time_ns() - began, 1)
