"""How well questions of strangers are understood: `make support-eval`, or with `--dev` on the questions that the
thresholds were chosen by. Once by words alone, and once by what texts mean too, if the extra is installed.

The questions in tests/support/questions were written from the list of topics alone, without sight of articles and
training phrases. The figures that count are those of a file's first run; they are kept in docs/support.md.
"""

import json
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

from services.support import meaning
from services.support.answers import REFUSED, Answers, articles_of_the_house, phrases_of_the_house

QUESTIONS = Path(__file__).parent / "questions"
GOALS = {"article": 0.90, "intent": 0.95, "refused": 0.95, "good refused": 0.03}
MOST_CONFUSED = 25


class Figures:
    """Counts over one file of questions."""

    def __init__(self) -> None:
        self.right, self.of, self.confused = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
        self.missed: list[str] = []

    def note(self, measure: str, good: bool) -> None:
        self.of[measure] += 1
        self.right[measure] += good

    def share(self, measure: str) -> float:
        return self.right[measure] / max(self.of[measure], 1)

    def reached(self) -> bool:
        good = all(self.share(name) >= goal for name, goal in GOALS.items() if name != "good refused")
        return good and self.share("good refused") <= GOALS["good refused"]


def measure(answers: Answers, questions: list[dict[str, Any]], language: str, topics: set[str]) -> Figures:
    """Ask each question once. Of several wishes in one text any counts; that all are met is tried by dialogues."""
    figures = Figures()
    for question in questions:
        wanted = question["intents"]
        reading = answers.read(question["text"], language)
        first = reading.guesses[0].intent
        hits = answers.find(question["text"], language, limit=1, reading=reading)
        refuses = first in REFUSED or not (reading.known or (hits and hits[0].sure))
        if wanted[0] in REFUSED:
            figures.note("refused", refuses)
        else:
            figures.note("intent", first in wanted)
            figures.note("good refused", refuses)
        if wanted[0] in topics:
            figures.note("article", bool(hits) and hits[0].topic in wanted)
        if first not in wanted:
            figures.confused[wanted[0], first] += 1
            figures.missed.append(f"{wanted[0]:18} {first:18} {reading.guesses[0].confidence:.2f}  {question['text']}")
    return figures


def main(names: list[str], verbose: bool) -> int:
    articles, phrases = articles_of_the_house(), phrases_of_the_house()
    ways = {"words": Answers(articles, phrases)}
    if meant := meaning.of_the_house():
        ways["words and meaning"] = Answers(articles, phrases, meaning=meant)
    good = True
    for name, (way, answers) in product(names, ways.items()):
        questions = json.loads((QUESTIONS / f"{name}.json").read_text())
        figures = measure(answers, questions, name[:2], {article.topic for article in articles})
        print(f"\n{name}, by {way}: {len(questions)} questions")
        for each, goal in GOALS.items():
            print(f"  {each:13} {figures.share(each):6.1%} of {figures.of[each]:3}   goal {goal:.0%}")
        if verbose:
            print("  most confused (wanted, understood):")
            for (wanted, understood), count in figures.confused.most_common(MOST_CONFUSED):
                print(f"    {count:3}  {wanted:20} {understood}")
            print(*figures.missed, sep="\n")
        good = good and figures.reached()
    return 0 if good else 1


if __name__ == "__main__":
    dev = "--dev" in sys.argv
    sys.exit(main(["en_dev", "zh_dev"] if dev else ["en", "zh", "en2", "zh2"], "--missed" in sys.argv))
