"""The answers of this process: learned once, off the hub, and indexed anew when an article was edited."""

from functools import partial

from nameko.extensions import DependencyProvider

from chassis.offhub import Prepared, off_hub
from services.support import meaning
from services.support.answers import Answers, Text, articles_of_the_house, phrases_of_the_house
from services.support.turns import Hit, Reading

PATIENCE_S = 10.0
"""So long a call waits until there is something to answer from; the gateway's waits a little longer."""


class Learned(DependencyProvider):
    """Worker attribute: itself, which reads and finds as `Answers` does. A call that comes before it has learned waits
    for that, as long as its deadline lets it, at most PATIENCE_S; then it is Unavailable, with nothing done.

    `support_learn_at_start`: otherwise it learns when it is asked first. `support_meaning`: it goes by what texts mean
    too, if the extra is installed; reading then takes some milliseconds, and is done off the hub.
    """

    def __init__(self) -> None:
        super().__init__()
        self._answers = Prepared[Answers]("support")
        self._begun = False
        self._stamp: object = None

    def start(self) -> None:
        if self.container.config["support_learn_at_start"]:
            self._begin()

    def get_dependency(self, worker_ctx: object) -> "Learned":
        return self

    def read(self, text: str, language: str) -> Reading:
        """See Answers."""
        answers = self._learned()
        return off_hub(answers.read, text, language) if answers.goes_by_meaning else answers.read(text, language)

    def find(
        self, text: str, language: str, intent: str | None = None, limit: int = 3, reading: Reading | None = None
    ) -> list[Hit]:
        """See Answers."""
        return self._learned().find(text, language, intent, limit, reading or self.read(text, language))

    def is_of(self, stamp: object) -> bool:
        """Whether the articles of this stamp are the ones that are indexed, or nothing is yet: an edit can wait for
        that, and a process that is told to stop need not wait for this."""
        return self._stamp == stamp or not self._answers.is_made()

    def take(self, articles: list[Text], stamp: object) -> None:
        """Answer from these articles from now on. `stamp` tells one set of articles from another."""
        off_hub(self._learned().index, articles)
        self._stamp = stamp

    def _learned(self) -> Answers:
        self._begin()
        return self._answers.get(PATIENCE_S)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._answers.prepare(partial(_learn, self.container.config["support_meaning"]))


def _learn(by_meaning: bool) -> Answers:
    """In a thread: nothing here may log, whose locks are the hub's."""
    meant = meaning.of_the_house() if by_meaning else None
    return Answers(articles_of_the_house(), phrases_of_the_house(), meaning=meant)
