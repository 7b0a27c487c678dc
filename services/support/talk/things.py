"""Which of the goods that are there somebody means: their names and options matched with the words of a text. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from rapidfuzz import fuzz

from services.support.talk.vocabulary import HEARD, any_of, normal, says

T = TypeVar("T")

TOKEN = re.compile(r"[a-z0-9][a-z0-9&'-]*")
ALIKE = 82
"""From which likeness (of 100) a longer word is taken for another: a letter may be wrong."""
LONG = 5
STOP = frozenset(HEARD["stop"])

_english = {
    normal(word): meant for name in ("things", "option_words", "synonyms") for word, meant in HEARD[name].items()
}
_english_words = any_of(_english)


def tokens(text: str) -> list[str]:
    """The words of a text as the catalogue writes them, with Chinese names and other words for the same translated."""
    plain = _english_words.sub(lambda found: f" {normal(_english[found[0]])} ", normal(text))
    return [_stem(token) for token in TOKEN.findall(plain) if token not in STOP]


def _stem(token: str) -> str:
    token = token.removesuffix("'s").strip("-'")
    return token[:-1] if len(token) > 3 and token.endswith("s") and not token.endswith("ss") else token


def alike(one: str, other: str) -> bool:
    """Whether two words are the same, but for a slip in a long one."""
    if one == other:
        return True
    return min(len(one), len(other)) >= LONG and one[0] == other[0] and fuzz.ratio(one, other) >= ALIKE


OPTIONS = frozenset(token for option in (*HEARD["sizes"], *HEARD["option_words"].values()) for token in tokens(option))
"""The words of all colours, sizes and formats that are named in short."""


def options_in(text: str) -> bool:
    """Whether a text names a colour, a size or a format."""
    return not OPTIONS.isdisjoint(tokens(text))


def only_options(text: str) -> bool:
    """Whether a text names a colour, a size or a format, and nothing else that is sold."""
    return bool(words := tokens(text)) and OPTIONS.issuperset(words)


def hits(words: Sequence[str], name: str) -> frozenset[int]:
    """Which words of a text (by place) name this."""
    own = tokens(name)
    return frozenset(place for place, word in enumerate(words) if any(alike(word, each) for each in own))


def describe(name: str, options: Mapping[str, str], more: str = "") -> str:
    """All the words that something can be called by."""
    return " ".join((name, *options.values(), more))


def meant(text: str, things: Sequence[tuple[T, str]]) -> list[list[T]]:
    """What a text means of these things, each with its description: for each thing named, those that fit it equally.

    "The lamp and the mug" gives two lists; "the lamp", where there are two lamps, gives one of both.
    """
    words = tokens(text)
    found = [(thing, hits(words, description)) for thing, description in things]
    found = [(thing, places) for thing, places in found if places]
    best = [(thing, places) for thing, places in found if not any(places < others for _, others in found)]
    best = _without_echoes(best)
    groups: dict[frozenset[int], list[T]] = {}
    for thing, places in best:
        groups.setdefault(places, []).append(thing)
    return list(groups.values())


def _without_echoes(best: list[tuple[T, frozenset[int]]]) -> list[tuple[T, frozenset[int]]]:
    """Things that share a word with a better fitting one are not meant beside it: "wool jumper" is no blanket."""
    return [
        (thing, places)
        for thing, places in best
        if not any(places & others and len(others) > len(places) for _, others in best)
    ]


def named_options(text: str, axes: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The options that a text names: for each axis, the value of which most is said."""
    words = tokens(text)
    found = {}
    for axis, values in axes.items():
        scores = {value: _share(words, value) for value in values}
        best = max(scores.values(), default=0.0)
        if best and len(winners := [value for value, score in scores.items() if score == best]) == 1:
            found[axis] = winners[0]
    return found


def _share(words: Sequence[str], value: str) -> float:
    own = tokens(value)
    return sum(any(alike(word, each) for word in words) for each in own) / len(own) if own else 0.0


def shifted(text: str, size: str, sizes: Iterable[str]) -> list[str]:
    """The sizes that "bigger" or "smaller" than this one means, the next one first."""
    order = HEARD["sizes"]
    there = [each for each in order if each in set(sizes)]
    if size not in order:
        return []
    if says("bigger", text):
        return [each for each in there if order.index(each) > order.index(size)]
    if says("smaller", text):
        return [each for each in reversed(there) if order.index(each) < order.index(size)]
    return []


def queries(text: str) -> list[str]:
    """What to search the catalogue for: all words, then each alone, then how the longest begins."""
    words = list(dict.fromkeys(tokens(text)))
    longest = max(words, key=len, default="")
    beginnings = [longest[:4]] if len(longest) > LONG else []
    return list(dict.fromkeys([" ".join(words), *words, *beginnings]))[:6] if words else []
