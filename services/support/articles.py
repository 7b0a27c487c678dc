"""Articles in the database, their votes, and what could not be answered."""

from collections.abc import Iterable, Sequence
from typing import Any

from rapidfuzz import fuzz, process
from sqlalchemy import Row, and_, func, select, update
from sqlalchemy.orm import Session

from chassis.db import affected, insert_new, now, table_of
from chassis.errors import ServiceError
from contracts import support as contract
from services.support.answers import Text
from services.support.models import Article, Question, Vote

HOUSE = "rialto"
"""Author of the articles that come with the service."""
ALIKE = 70.0
"""Questions that are so much alike, of 100, are one to the editors."""
QUESTIONS_READ = 1000

_articles = table_of(Article)
_questions = table_of(Question)
_votes = table_of(Vote)
_newest = (
    select(_articles.c.topic, _articles.c.language, func.max(_articles.c.version).label("version"))
    .group_by(_articles.c.topic, _articles.c.language)
    .subquery()
)
_current = select(_articles).join(
    _newest,
    and_(
        _articles.c.topic == _newest.c.topic,
        _articles.c.language == _newest.c.language,
        _articles.c.version == _newest.c.version,
    ),
)


def keep(session: Session, texts: Iterable[Text]) -> None:
    """Keep the articles that come with the service, as their first versions, where there are none."""
    at = now(session)
    for text in texts:
        row = dict(
            topic=text.topic,
            language=text.language,
            version=1,
            title=text.title,
            text=text.text,
            keywords=text.keywords,
            author=HOUSE,
            at=at,
            helpful=0,
            unhelpful=0,
        )
        insert_new(session, _articles, row)


def lacking(session: Session, texts: Iterable[Text]) -> list[Text]:
    """Those of which there is no version yet."""
    there = {(row.topic, row.language) for row in session.connection().execute(select(_newest))}
    return [text for text in texts if (text.topic, text.language) not in there]


def stamp(session: Session) -> tuple[int, int]:
    """Another one after every edit."""
    count, versions = (
        session.connection()
        .execute(select(func.count(), func.coalesce(func.sum(_articles.c.version), 0)).select_from(_articles))
        .one()
    )
    return int(count), int(versions)


def current(session: Session, language: str | None = None) -> list[contract.Article]:
    query = _current.order_by(_articles.c.topic, _articles.c.language)
    if language is not None:
        query = query.where(_articles.c.language == language)
    return [_view(row, is_current=True) for row in session.connection().execute(query)]


def texts(session: Session) -> list[Text]:
    """The current articles, as they are searched."""
    return [
        Text(topic=each.topic, language=each.language, title=each.title, text=each.text, keywords=each.keywords)
        for each in current(session)
    ]


def versions(session: Session, topic: str, language: str) -> list[contract.Article]:
    """All versions, the newest first."""
    of = and_(_articles.c.topic == topic, _articles.c.language == language)
    rows = session.connection().execute(select(_articles).where(of).order_by(_articles.c.version.desc())).all()
    if not rows:
        raise ServiceError("support.article_not_found", f"There is no article {topic!r} in {language}.")
    return [_view(row, is_current=row is rows[0]) for row in rows]


def write(
    session: Session, topic: str, language: str, article: contract.NewArticle, version: int, author: str
) -> contract.Article:
    """The next version, if `version` is the newest one. Two editors at once: one of them is refused."""
    row = dict(
        topic=topic,
        language=language,
        version=version + 1,
        title=article.title,
        text=article.text,
        keywords=article.keywords,
        author=author,
        at=now(session),
        helpful=0,
        unhelpful=0,
    )
    newest = session.scalar(
        select(func.max(_articles.c.version)).where(_articles.c.topic == topic, _articles.c.language == language)
    )
    if (newest or 0) != version or not insert_new(session, _articles, row):
        raise ServiceError(
            "support.article_changed",
            f"Somebody wrote version {newest or 0} meanwhile: read it, and write yours from there.",
            {"field": "version", "version": newest or 0},
        )
    return versions(session, topic, language)[0]


def vote(session: Session, topic: str, language: str, version: int, voter: str, helpful: bool) -> None:
    """Count a vote for a version; another one of the same voter's takes the place of the one before."""
    of = dict(topic=topic, language=language, version=version)
    if session.scalar(select(_articles.c.version).filter_by(**of)) is None:
        raise ServiceError(
            "support.article_not_found", f"There is no version {version} of an article {topic!r} in {language}."
        )
    if insert_new(session, _votes, dict(of, voter=voter, helpful=helpful, at=now(session))):
        _count(session, of, helpful, 1)
        return
    changed = update(_votes).filter_by(**of, voter=voter, helpful=not helpful)
    if affected(session, changed.values(helpful=helpful, at=now(session))) == 1:
        _count(session, of, helpful, 1)
        _count(session, of, not helpful, -1)


def _count(session: Session, of: dict[str, Any], helpful: bool, more: int) -> None:
    column = _articles.c.helpful if helpful else _articles.c.unhelpful
    session.execute(update(_articles).filter_by(**of).values({column: column + more}))


def _view(row: Row[Any], is_current: bool) -> contract.Article:
    return contract.Article(
        topic=row.topic,
        language=row.language,
        version=row.version,
        title=row.title,
        text=row.text,
        keywords=row.keywords,
        current=is_current,
        author=row.author,
        at=row.at,
        helpful=row.helpful,
        unhelpful=row.unhelpful,
    )


# --- what could not be answered


def questions(session: Session, language: str | None) -> Sequence[Row[Any]]:
    """The last questions without an answer, the newest first."""
    query = select(_questions).order_by(_questions.c.at.desc()).limit(QUESTIONS_READ)
    if language is not None:
        query = query.where(_questions.c.language == language)
    return session.connection().execute(query).all()


def alike(rows: Sequence[Row[Any]], limit: int) -> list[contract.Unanswered]:
    """Those alike together, the most frequent first. Pure, and seconds of computing where they are many and long."""
    groups: dict[str, list[list[Row[Any]]]] = {}
    first: dict[str, list[str]] = {}
    for row in rows:
        near = process.extractOne(
            row.text, first.setdefault(row.language, []), scorer=fuzz.token_set_ratio, score_cutoff=ALIKE
        )
        if near is None:
            first[row.language].append(row.text)
            groups.setdefault(row.language, []).append([row])
        else:
            groups[row.language][near[2]].append(row)
    largest = sorted((group for those in groups.values() for group in those), key=len, reverse=True)
    return [_group(group) for group in largest[:limit]]


def _group(rows: Sequence[Row[Any]]) -> contract.Unanswered:
    return contract.Unanswered(
        example=rows[0].text,
        language=rows[0].language,
        count=len(rows),
        last_at=rows[0].at,
        questions=[row.text for row in rows[:10]],
        nearest=rows[0].nearest,
    )
