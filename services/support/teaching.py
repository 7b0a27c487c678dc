"""Writes data/meaning.npz anew, as after phrases or articles were changed: `make support-teach`. Needs the extra
`meaning`, and a minute of a core. The same phrases teach the same."""

import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from services.support import meaning
from services.support.answers import articles_of_the_house, phrases_of_the_house, taught
from services.support.meaning import Encode, Lesson
from services.support.terms import prose


def lessons_of_the_house() -> dict[str, dict[str, list[str]]]:
    """What is learned from, by language and intent."""
    articles = articles_of_the_house()
    return {language: taught(phrases, articles, language) for language, phrases in phrases_of_the_house().items()}


def teach(lessons: dict[str, dict[str, list[str]]], encode: Encode, model: str) -> Lesson:
    """One classifier for all languages: what is said in one helps to understand another."""
    labelled = [(text, intent) for each in lessons.values() for intent, texts in each.items() for text in texts]
    vectors = encode([prose(text) for text, _ in labelled])
    classifier = LogisticRegression(C=5.0, class_weight="balanced", max_iter=100, tol=1e-3)
    classifier.fit(vectors, np.array([intent for _, intent in labelled]))
    return Lesson(
        classifier.classes_.tolist(),
        classifier.coef_.T,
        classifier.intercept_,
        meaning.fingerprint(lessons),
        model,
    )


def main() -> None:
    began = time.monotonic()
    lesson = teach(lessons_of_the_house(), meaning.encoder(), meaning.model())
    path = Path(__file__).parent / "data" / meaning.FILE
    lesson.write(path)
    print(f"{path.name}: {path.stat().st_size // 1024} kB, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
