"""Articles over HTTP: for everybody to read and search, for staff to write."""

import msgspec

from chassis.errors import ServiceError
from chassis.routes import Request, route
from chassis.types import CUSTOMER, STAFF
from contracts.support import Article, Found, Language, NewArticle, SupportApi, Unanswered
from edge import support_bodies as bodies
from edge.asking import key_of
from edge.support import GUEST, who_of

EXCERPT = 200


class KnowledgeRoutes:
    """`support` is the gateway's, which inherits these."""

    support: SupportApi

    @route("GET", "/v1/articles", query=bodies.ArticleQuery, refuses=(SupportApi.articles, SupportApi.search))
    def find_articles(self, request: Request[None, bodies.ArticleQuery]) -> list[Found]:
        """Articles for a question (`query`), the best first with the terms that speak for each; or all of them."""
        asked = request.query
        if asked.query:
            return self.support.search(asked.query, asked.language, asked.limit)
        return [_unscored(each) for each in self.support.articles(asked.language)]

    @route("GET", "/v1/articles/unanswered", query=bodies.LanguageQuery, role=STAFF, refuses=SupportApi.unanswered)
    def unanswered(self, request: Request[None, bodies.LanguageQuery]) -> list[Unanswered]:
        """What the assistant could not answer, those alike together."""
        return self.support.unanswered(request.query.language, request.query.limit)

    @route("GET", "/v1/articles/{topic}", query=bodies.LanguageQuery, refuses=SupportApi.article)
    def get_article(self, request: Request[None, bodies.LanguageQuery], topic: str) -> Article:
        """An article as it is now."""
        return self.support.article(topic, request.query.language or "en")

    @route("GET", "/v1/articles/{topic}/{language}/versions", role=STAFF, refuses=SupportApi.versions)
    def article_versions(self, request: Request, topic: str, language: str) -> list[Article]:
        """All versions of an article, the newest first."""
        return self.support.versions(topic, _language(language))

    @route(
        "PUT",
        "/v1/articles/{topic}/{language}",
        body=bodies.WriteArticle,
        role=STAFF,
        refuses=SupportApi.write_article,
    )
    def write_article(self, request: Request[bodies.WriteArticle], topic: str, language: str) -> Article:
        """Write an article's next version; `version` is the one that it was made from, 0 for a new topic."""
        asked = request.body
        article = NewArticle(title=asked.title, text=asked.text, keywords=asked.keywords)
        return self.support.write_article(topic, _language(language), article, asked.version, key=key_of(request))

    @route(
        "POST",
        "/v1/articles/{topic}/{language}/votes",
        body=bodies.Vote,
        role=CUSTOMER,
        guest=GUEST,
        success=204,
        refuses=SupportApi.vote,
    )
    def vote(self, request: Request[bodies.Vote], topic: str, language: str) -> None:
        """Say whether an article helped, in the version that was shown; the last word counts."""
        who, said = who_of(request), request.body
        self.support.vote(who, topic, _language(language), said.version, said.helpful, key=key_of(request))


def _unscored(article: Article) -> Found:
    excerpt = article.text[:EXCERPT]
    return Found(
        topic=article.topic, language=article.language, title=article.title, excerpt=excerpt, score=0.0, terms=[]
    )


def _language(text: str) -> Language:
    try:
        known: Language = msgspec.convert(text, Language)
        return known
    except msgspec.ValidationError:
        raise ServiceError("support.article_not_found", f"There are articles in en and in zh, not {text!r}.") from None
