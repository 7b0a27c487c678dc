"""What the books say: accounts with their balances, their lines, statements, and the trial balance."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, bindparam, case, exists, func, or_, select
from sqlalchemy.orm import Session

from chassis.cursors import decode_cursor, encode_cursor
from chassis.db import now, run, table_of
from chassis.errors import ServiceError
from chassis.types import Money
from contracts import accounts as contract
from services.accounts.domain import GROWS_BY_DEBITS, OUTSIDE
from services.accounts.models import Account, Entry, Posting

STATEMENT_LINES = 10_000
MOMENT = timedelta(microseconds=1)
"""Databases keep no shorter one."""

_account, _entry, _posting = table_of(Account), table_of(Entry), table_of(Posting)
_ending = table_of(Entry).alias("ending")
_COUNTS = ("debits", "credits", "pending_debits", "pending_credits")
_SUMS = [func.sum(_account.c[name]).label(name) for name in _COUNTS]
_ABOUT = [_account.c[name] for name in ("id", "type", "currency", "name", "status", "customer_id", "role")]
_VIEWS = select(*_ABOUT, *_SUMS, func.min(_account.c.created_at).label("created_at")).group_by(*_ABOUT)
_GET = _VIEWS.where(_account.c.id == bindparam("of"))
_OF_CUSTOMER = _VIEWS.where(_account.c.customer_id == bindparam("whose")).order_by(func.min(_account.c.number))
_COUNTED = _entry.c.phase.in_(("posted", "settled"))
_STILL_PENDING = and_(_entry.c.phase == "pending", ~exists().where(_ending.c.ends == _entry.c.id))
_MOVED = func.sum(_posting.c.amount).label("moved")
_LINES = (
    select(_entry.c.id, _entry.c.at, _entry.c.kind, _entry.c.subject, _entry.c.memo, _entry.c.phase, _MOVED)
    .join(_posting, _posting.c.entry_id == _entry.c.id)
    .where(_posting.c.account_id == bindparam("of"))
    .group_by(_entry.c.id, _entry.c.at, _entry.c.kind, _entry.c.subject, _entry.c.memo, _entry.c.phase)
    .limit(bindparam("most"))
)
_NEWEST = _LINES.where(or_(_COUNTED, _STILL_PENDING), _posting.c.entry_id < bindparam("before")).order_by(
    _entry.c.id.desc()
)
_BETWEEN = _LINES.where(_COUNTED, _entry.c.at >= bindparam("since"), _entry.c.at < bindparam("until")).order_by(
    _entry.c.id
)
_POSTED = (
    select(func.coalesce(func.sum(_posting.c.amount), 0))
    .join(_entry, _entry.c.id == _posting.c.entry_id)
    .where(_posting.c.account_id == bindparam("of"), _COUNTED)
)
_POSTED_BEFORE = _POSTED.where(_entry.c.at < bindparam("until"))
_POSTED_SINCE = _POSTED.where(_posting.c.entry_id >= bindparam("since"))
_ROLE = case((_account.c.role.is_(None), "customers"), else_=_account.c.role).label("role")
_TRIAL = (
    select(
        _ROLE,
        _account.c.type,
        _account.c.currency,
        func.count(_account.c.id.distinct()).label("accounts"),
        func.sum(_account.c.debits).label("debits"),
        func.sum(_account.c.credits).label("credits"),
    )
    .group_by(_ROLE, _account.c.type, _account.c.currency)
    .order_by(_account.c.currency, _ROLE)
)
_ABOUT_SUCH = and_(
    _entry.c.subject > bindparam("after"),
    func.substr(_entry.c.subject, 1, func.length(bindparam("prefix"))) == bindparam("prefix"),
)
_SUBJECTS = (
    select(_entry.c.subject, func.max(_entry.c.at).label("at"))
    .where(_ABOUT_SUCH)
    .group_by(_entry.c.subject)
    .order_by(_entry.c.subject)
    .limit(bindparam("most"))
)
_BY_ROLE = (
    select(_entry.c.subject, _ROLE, _account.c.currency, _MOVED)
    .join(_posting, _posting.c.entry_id == _entry.c.id)
    .join(_account, and_(_account.c.id == _posting.c.account_id, _account.c.stripe == _posting.c.stripe))
    .where(_COUNTED, _ABOUT_SUCH, _entry.c.subject <= bindparam("last"))
    .group_by(_entry.c.subject, _ROLE, _account.c.currency)
    .order_by(_entry.c.subject, _account.c.currency, _ROLE)
)
_NO_ID = 2**62


def get(session: Session, account_id: str) -> contract.Account:
    row = run(session, _GET, of=account_id).one_or_none()
    if row is None:
        raise ServiceError("accounts.not_found", f"There is no account {account_id!r}.")
    return _view(row)


def of_customer(session: Session, customer_id: str) -> list[contract.Account]:
    return [_view(row) for row in run(session, _OF_CUSTOMER, whose=customer_id)]


def _view(row: Row[Any]) -> contract.Account:
    def money(amount: int) -> Money:
        return Money(amount=int(amount), currency=row.currency)

    net = int(row.debits) - int(row.credits)
    if row.type in GROWS_BY_DEBITS:
        posted, coming, going = net, int(row.pending_debits), int(row.pending_credits)
    else:
        posted, coming, going = -net, int(row.pending_credits), int(row.pending_debits)
    return contract.Account(
        id=row.id,
        type=row.type,
        currency=row.currency,
        name=row.name,
        status=row.status,
        balance=contract.Balance(
            posted=money(posted), pending_in=money(coming), pending_out=money(going), available=money(posted - going)
        ),
        created_at=row.created_at,
        customer_id=row.customer_id,
        role=row.role,
    )


def lines(session: Session, account: contract.Account, limit: int, cursor: str | None) -> contract.AccountLinePage:
    """Newest first. The running balance is reckoned back from what is posted now, in the same view of the database."""
    before, balance = _NO_ID, account.balance.posted.amount
    if cursor is not None:
        before = _position(cursor)
        balance -= _sign(account) * int(run(session, _POSTED_SINCE, of=account.id, since=before).scalar_one())
    rows = run(session, _NEWEST, of=account.id, before=before, most=limit + 1).all()
    items = []
    for row in rows[:limit]:
        items.append(_line(row, account, balance))
        balance -= items[-1].amount.amount if items[-1].state == "posted" else 0
    more = encode_cursor((rows[limit - 1].id,)) if len(rows) > limit else None
    return contract.AccountLinePage(items=items, next_cursor=more)


def _position(cursor: str) -> int:
    try:
        (before,) = decode_cursor(cursor, tuple[int])
    except ValueError:
        before = -1
    if not 0 <= before <= _NO_ID:
        raise ServiceError("accounts.bad_cursor", "This cursor is not one of ours.", {"field": "cursor"})
    return before


def _line(row: Row[Any], account: contract.Account, balance: int) -> contract.AccountLine:
    return contract.AccountLine(
        entry_id=str(row.id),
        at=row.at,
        kind=row.kind,
        subject=row.subject,
        memo=row.memo,
        state=OUTSIDE[row.phase],
        amount=Money(amount=_sign(account) * int(row.moved), currency=account.currency),
        balance=Money(amount=balance, currency=account.currency),
    )


def _sign(account: contract.Account) -> int:
    """Of a debit, as the account's owner sees it."""
    return 1 if account.type in GROWS_BY_DEBITS else -1


def balance_at(session: Session, account: contract.Account, at: datetime) -> Money:
    """What was posted up to and with this moment."""
    return Money(amount=_posted_before(session, account, at + MOMENT), currency=account.currency)


def _posted_before(session: Session, account: contract.Account, until: datetime) -> int:
    return _sign(account) * int(run(session, _POSTED_BEFORE, of=account.id, until=until).scalar_one())


def statement(session: Session, account: contract.Account, month: str) -> contract.Statement:
    """A month in UTC, oldest first."""
    year, number = int(month[:4]), int(month[5:])
    try:
        since = datetime(year, number, 1, tzinfo=UTC)
        until = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    except ValueError:
        raise ServiceError("request.invalid", f"There is no month {month}.", {"field": "month"}) from None
    opening = _posted_before(session, account, since)
    rows = run(session, _BETWEEN, of=account.id, since=since, until=until, most=STATEMENT_LINES + 1).all()
    if len(rows) > STATEMENT_LINES:
        raise ServiceError("accounts.statement_too_long", "This month has too many lines: page through the entries.")
    balance, written = opening, []
    for row in rows:
        balance += _sign(account) * int(row.moved)
        written.append(_line(row, account, balance))
    return contract.Statement(
        account_id=account.id,
        month=month,
        opening=Money(amount=opening, currency=account.currency),
        closing=Money(amount=balance, currency=account.currency),
        lines=written,
    )


def trial_balance(session: Session) -> contract.TrialBalance:
    """Each role's balance stands on its side: what it owes or earned as credit, what it has or spent as debit."""
    written, open_sums = [], dict[str, int]()
    for row in run(session, _TRIAL):
        net = int(row.debits) - int(row.credits)
        open_sums[row.currency] = open_sums.get(row.currency, 0) + net
        written.append(
            contract.TrialLine(
                role=row.role,
                type=row.type,
                currency=row.currency,
                accounts=row.accounts,
                debit=max(net, 0),
                credit=max(-net, 0),
            )
        )
    return contract.TrialBalance(holds=not any(open_sums.values()), lines=written, at=now(session))


def sums_by_subject(session: Session, prefix: str, after: str | None, limit: int) -> contract.SubjectSumsPage:
    """What was posted about subjects that begin so. It looks at `after` and beyond: whatever the order of the database
    is, what begins with a prefix does not come before it."""
    such = dict(prefix=prefix, after=after or prefix)
    rows = run(session, _SUBJECTS, most=limit + 1, **such).all()
    found = {row.subject: contract.SubjectSums(subject=row.subject, sums=[], updated_at=row.at) for row in rows[:limit]}
    if found:
        for row in run(session, _BY_ROLE, last=rows[:limit][-1].subject, **such):
            posted = contract.RoleSum(role=row.role, currency=row.currency, amount=int(row.moved))
            found[row.subject].sums.append(posted)
    return contract.SubjectSumsPage(
        items=list(found.values()), next_after=rows[limit - 1].subject if len(rows) > limit else None
    )
