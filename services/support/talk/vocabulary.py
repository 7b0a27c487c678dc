"""What customers say for things: words/heard.json, for both languages, as it is searched for in a text."""

import json
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

WORDS = files("services.support.talk") / "words"
HEARD: dict[str, Any] = json.loads((WORDS / "heard.json").read_text("utf-8"))

LATIN = re.compile(r"[a-z0-9]")
PUNCTUATION = re.compile(r"[\s.,!?;:~\"'()\[\]、。\u2026\u2014-]+")


def normal(text: str) -> str:
    """In lower case, with the punctuation and digits of one width."""
    return unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold().strip()


@cache
def pattern(name: str) -> re.Pattern[str]:
    """What finds any of the words of a name: the longest first, and Latin ones whole."""
    return any_of(HEARD[name])


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """What finds any of these words."""
    return re.compile("|".join(_whole(word) for word in sorted(map(normal, words), key=len, reverse=True)))


def _whole(word: str) -> str:
    before = r"(?<![a-z0-9])" if LATIN.match(word[0]) else ""
    after = r"(?![a-z0-9])" if LATIN.match(word[-1]) else ""
    return f"{before}{re.escape(word)}{after}"


def says(name: str, text: str) -> bool:
    """Whether one of the words of a name is in a text."""
    return pattern(name).search(normal(text)) is not None


def values(name: str, text: str) -> list[Any]:
    """What the words of a name that are in a text stand for, in the order in which they are said."""
    table = {normal(word): value for word, value in HEARD[name].items()}
    return [table[found[0]] for found in pattern(name).finditer(normal(text))]


def kinds(name: str, text: str) -> list[str]:
    """Under which headings of a table the words of a text are."""
    return [kind for kind, words in HEARD[name].items() if any_of(words).search(normal(text))]


def consists_of(text: str, *names: str) -> bool:
    """Whether a text is made of the words of these names alone."""
    left = PUNCTUATION.sub(" ", normal(text).replace("'", "")).strip()
    words = [word.replace("'", "") for name in names for word in HEARD[name]]
    return not PUNCTUATION.sub("", any_of(words).sub(" ", left))
