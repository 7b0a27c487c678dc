"""A text as the terms that it is found and understood by: stems of English words, words and characters of Chinese."""

import itertools
import re
import unicodedata
from collections.abc import Iterator

import opencc
import rjieba
import Stemmer

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|\?")
_ORDER = re.compile(r"(?<![a-z0-9-])(?=[a-z]*[0-9])[0-9a-f]{8,32}(?![a-z0-9-])|(?<![a-z0-9-])o-[0-9a-f]{6,}", re.I)
_SKU = re.compile(r"(?<![a-z0-9-])[a-z]{2,}(?:-[a-z0-9]+)*-[0-9]+(?![a-z0-9-])", re.I)
_HAN = re.compile(r"[\u3400-\u9fff]+")
_stem = Stemmer.Stemmer("english").stemWord
_simplified = opencc.OpenCC("t2s").convert

STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "and",
        "or",
        "is",
        "are",
        "am",
        "be",
        "been",
        "was",
        "were",
        "it",
        "its",
        "this",
        "that",
        "these",
        "those",
        "in",
        "on",
        "at",
        "as",
        "so",
    ]
)
STOP_ZH = frozenset(
    [
        "的",
        "了",
        "吗",
        "呢",
        "啊",
        "吧",
        "呀",
        "哦",
        "嗯",
        "是",
        "在",
        "我",
        "你",
        "您",
        "们",
        "就",
        "都",
        "也",
        "和",
        "与",
        "着",
        "这",
        "那",
        "个",
    ]
)
"""Words that speak for no article. The classifier sees them: they tell a wish from a question."""

LONGEST = 600
"""Characters that are read; what somebody wants is said by then."""


def normal(text: str) -> str:
    """Lower case, simplified, one width, one kind of apostrophe; which order or article is meant says nothing here."""
    folded = unicodedata.normalize("NFKC", text[:LONGEST]).lower().replace("\u2019", "'")
    folded = _SKU.sub(" articlenumber ", _ORDER.sub(" ordernumber ", folded))
    return str(_simplified(folded)) if _HAN.search(folded) else folded


def prose(text: str) -> str:
    """A text as it was written, without the numbers of orders and articles, and without halves of characters."""
    return _SKU.sub("", _ORDER.sub("", text[:LONGEST])).encode(errors="ignore").decode()


def words(text: str) -> list[str]:
    """Its words in their order: English stems, Chinese words."""
    return _words(normal(text))


def _words(plain: str) -> list[str]:
    found: list[str] = []
    at = 0
    for han in _HAN.finditer(plain):
        found += _english(plain[at : han.start()])
        found += rjieba.cut(han.group())
        at = han.end()
    return found + _english(plain[at:])


def terms(text: str) -> list[str]:
    """What articles are found by: words that mean something, and pairs of Chinese characters."""
    plain = normal(text)
    meant = [word for word in _words(plain) if word not in STOP and word not in STOP_ZH and word != "?"]
    return [*meant, *_pairs(plain)]


def features(text: str) -> list[str]:
    """What the classifier goes by: words, pairs of words, and pieces of words, which typos leave."""
    plain = normal(text)
    found = _words(plain)
    bounded = ["<", *found, ">"]
    return [
        *found,
        *(f"{one} {other}" for one, other in itertools.pairwise(bounded)),
        *(f"{one} _ {other}" for one, other in zip(found, found[2:], strict=False)),
        *_pieces(plain),
        *(f"~{pair}" for pair in _pairs(plain)),
    ]


def _english(text: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(text)]


def _pairs(plain: str) -> Iterator[str]:
    for han in _HAN.findall(plain):
        yield from (han[index : index + 2] for index in range(len(han) - 1))
        yield from (f"{letter}." for letter in han)


def _pieces(plain: str) -> Iterator[str]:
    for word in _WORD.findall(plain):
        whole = f"#{word}#"
        for size in (3, 4, 5):
            yield from (f"~{whole[index : index + size]}" for index in range(len(whole) - size + 1))
