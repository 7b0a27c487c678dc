"""Articles for everybody who has a question, and for those who write them."""

import msgspec
from nameko.timer import timer

from chassis.commands import command
from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.errors import ServiceError
from chassis.offhub import off_hub
from chassis.rpc import rpc
from contracts.support import Article, Found, Language, Limit, NewArticle, Query, Sequence, Topic, Unanswered, Who
from services.support import articles, store
from services.support.answers import articles_of_the_house
from services.support.learning import Learned
from services.support.masking import language_of

LOOK_EVERY_S = 5
EXCERPT = 200


class KnowledgeDoors:
    """For SupportService, which inherits it."""

    call: Call
    db: WorkerDatabase
    answers: Learned

    @rpc
    def search(self, query: Query, language: Language | None = None, limit: Limit = 5) -> list[Found]:
        spoken = language or language_of(query)
        return [
            Found(
                topic=hit.topic,
                language=hit.language,
                title=hit.title,
                excerpt=hit.text[:EXCERPT],
                score=hit.score,
                terms=hit.terms,
            )
            for hit in self.answers.find(query, spoken, limit=limit)
        ]

    @rpc
    def article(self, topic: Topic, language: Language) -> Article:
        with self.db.read() as session:
            return self._shown(articles.versions(session, topic, language)[0])

    @rpc
    def articles(self, language: Language | None = None) -> list[Article]:
        with self.db.read() as session:
            return [self._shown(each) for each in articles.current(session, language)]

    @rpc
    def versions(self, topic: Topic, language: Language) -> list[Article]:
        self.call.require_staff()
        with self.db.read() as session:
            return articles.versions(session, topic, language)

    @command
    def write_article(
        self, topic: Topic, language: Language, article: NewArticle, version: Sequence, *, key: str
    ) -> Article:
        self.call.require_staff()
        return articles.write(self.db.session, topic, language, article, version, self.call.author())

    @command
    def vote(self, who: Who, topic: Topic, language: Language, version: Sequence, helpful: bool, *, key: str) -> None:
        articles.vote(self.db.session, topic, language, version, self._voter(who), helpful)

    @rpc
    def unanswered(self, language: Language | None = None, limit: Limit = 50) -> list[Unanswered]:
        self.call.require_staff()
        with self.db.read() as session:
            asked = articles.questions(session, language)
        return off_hub(articles.alike, asked, limit)

    @timer(interval=LOOK_EVERY_S, eager=True)
    def look_for_edits(self) -> None:
        """Answer from the articles as they are by now; the first time, keep those that come with this version of the
        service and are not there."""
        if self.answers.is_of(None):
            self._keep_the_house()
        with self.db.read() as session:
            stamp = articles.stamp(session)
        if not self.answers.is_of(stamp):
            with self.db.read() as session:
                stamp, texts = articles.stamp(session), articles.texts(session)
            self.answers.take(texts, stamp)

    def _voter(self, who: Who) -> str:
        """The customer's id; of a guest that of the conversation."""
        if who.token is not None and who.customer_id is None:
            return str(store.of_guest(self.db.session, who.token).id)
        if who.customer_id is None or who.token is not None or not self.call.owns(who.customer_id):
            raise ServiceError("auth.forbidden", "Sign in to vote, or bring the token of a conversation.")
        return who.customer_id

    def _shown(self, article: Article) -> Article:
        """Who of staff wrote an article is told to staff alone."""
        return article if self.call.is_staff() else msgspec.structs.replace(article, author=articles.HOUSE)

    def _keep_the_house(self) -> None:
        with self.db.read() as session:
            lacking = articles.lacking(session, articles_of_the_house())
        if lacking:
            with self.db.write() as session:
                articles.keep(session, lacking)
