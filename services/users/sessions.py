"""users' queries about logging in: failures, sessions with their refresh tokens, signing keys."""

import math
import secrets
import uuid
from datetime import timedelta
from typing import cast

from sqlalchemy import Table, delete, or_, select, update
from sqlalchemy.orm import Session

from chassis.db import insert_new, now
from chassis.errors import ServiceError
from contracts import users as contract
from services.users import tokens
from services.users.domain import digest, wait_after
from services.users.models import LoginFailures, LoginSession, RefreshToken, SigningKey
from services.users.settings import Settings

# --- failures in a row


def require_open(session: Session, address: str) -> None:
    """Raises ServiceError `users.throttled` while an address is."""
    blocked_until = session.scalar(select(LoginFailures.blocked_until).where(LoginFailures.address == address))
    left_s = (blocked_until - now(session)).total_seconds() if blocked_until else 0
    if left_s > 0:
        raise _throttled(math.ceil(left_s))


def count_failure(session: Session, address: str, settings: Settings) -> None:
    """One more failure in a row at an address, which may throttle it from now on.

    Raises ServiceError `users.throttled` where others' failures did so first: of many attempts at once, only those
    that count tell whether the password was right.
    """
    at = now(session)
    here = LoginFailures.address == address
    insert_new(session, cast(Table, LoginFailures.__table__), dict(address=address, failures=0, failed_at=at))
    is_open = or_(LoginFailures.blocked_until.is_(None), LoginFailures.blocked_until <= at)
    counted = update(LoginFailures).where(here, is_open).values(failures=LoginFailures.failures + 1, failed_at=at)
    failures = session.scalar(counted.returning(LoginFailures.failures))
    if failures is None:
        require_open(session, address)
        raise _throttled(1)
    wait = wait_after(failures, settings.login_free_failures, settings.login_delay_s, settings.login_delay_max_s)
    if wait:
        session.execute(update(LoginFailures).where(here).values(blocked_until=at + wait))


def forget_failures(session: Session, address: str) -> None:
    """The row of failures is broken. Raises ServiceError `users.throttled` as `count_failure` does."""
    require_open(session, address)
    session.execute(delete(LoginFailures).where(LoginFailures.address == address))


def _throttled(retry_after_s: int) -> ServiceError:
    sentence = f"There were too many failed attempts: try again in {retry_after_s} s."
    return ServiceError("users.throttled", sentence, {"retry_after_s": retry_after_s})


# --- sessions


def begin(session: Session, user: contract.User, settings: Settings) -> contract.Tokens:
    at = now(session)
    login = LoginSession(id=uuid.uuid4().hex, account_id=user.id, created_at=at, expires_at=at)
    session.add(login)
    session.flush()
    return issue(session, login.id, user, settings)


def issue(session: Session, session_id: str, user: contract.User, settings: Settings) -> contract.Tokens:
    """The next pair of a session, which then lasts as long as its refresh token."""
    at = now(session)
    refresh_token = tokens.new_refresh_token()
    expires_at = at + timedelta(seconds=settings.refresh_token_s)
    session.execute(update(LoginSession).where(LoginSession.id == session_id).values(expires_at=expires_at))
    session.add(RefreshToken(digest=digest(refresh_token), session_id=session_id, expires_at=expires_at))
    key = session.scalars(select(SigningKey).where(SigningKey.active)).one()
    access_token = tokens.access_token(
        key.kid,
        key.private_key,
        account_id=user.id,
        roles=user.roles,
        session_id=session_id,
        at=at,
        lifetime=timedelta(seconds=settings.access_token_s),
    )
    return contract.Tokens(access_token=access_token, refresh_token=refresh_token, expires_in=settings.access_token_s)


def use_refresh_token(session: Session, refresh_token: str) -> tuple[str, str] | None:
    """Use a token up: the ids of its session and account, or None if it is good for nothing.

    One that was used before is in two hands, and nobody can tell whose: its session ends.
    """
    at = now(session)
    same = RefreshToken.digest == digest(refresh_token)
    usable = update(RefreshToken).where(same, RefreshToken.used_at.is_(None), RefreshToken.expires_at > at)
    session_id = session.scalar(usable.values(used_at=at).returning(RefreshToken.session_id))
    if session_id is None:
        used = session.scalar(select(RefreshToken.session_id).where(same, RefreshToken.used_at.is_not(None)))
        if used is not None:
            end(session, used)
        return None
    alive = select(LoginSession.account_id).where(LoginSession.id == session_id, LoginSession.ended_at.is_(None))
    account_id = session.scalar(alive.with_for_update())  # against its end at this very moment
    return None if account_id is None else (session_id, account_id)


def end(session: Session, session_id: str, account_id: str | None = None) -> None:
    """End a session, if it is this account's; one that has ended, or never was, is no error."""
    living = update(LoginSession).where(LoginSession.id == session_id, LoginSession.ended_at.is_(None))
    if account_id is not None:
        living = living.where(LoginSession.account_id == account_id)
    session.execute(living.values(ended_at=now(session)))


def sweep(session: Session, settings: Settings) -> None:
    """Delete what no longer means anything: tokens and sessions whose time is over, failures long ago."""
    at = now(session)
    forgotten = at - timedelta(seconds=settings.login_forget_s)
    session.execute(delete(RefreshToken).where(RefreshToken.expires_at <= at))
    session.execute(delete(LoginSession).where(LoginSession.expires_at <= at))
    session.execute(delete(LoginFailures).where(LoginFailures.failed_at <= forgotten))


# --- signing keys


def make_first_key(session: Session) -> None:
    """A key to sign with, unless there is one."""
    row = dict(kid=secrets.token_hex(8), private_key=tokens.new_private_key(), active=True, created_at=now(session))
    insert_new(session, cast(Table, SigningKey.__table__), row)


def public_keys(session: Session) -> list[contract.PublicKey]:
    keys = session.scalars(select(SigningKey).order_by(SigningKey.created_at)).all()
    return [tokens.public_key(key.kid, key.private_key) for key in keys]
