"""The rules of accounts and of logging in. Pure: no I/O."""

import hashlib
from datetime import timedelta

MAX_ADDRESSES = 20
MAX_PAYMENT_METHODS = 10


def address_of(email: str) -> str:
    """What an e-mail address is known by, without case: 64 characters, however it folds and whatever was typed in."""
    return digest(email.strip().casefold())


def digest(secret: str) -> str:
    """The SHA-256 of a text, in hex. Enough for secrets of 256 random bits; a password needs more than that."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def wait_after(failures: int, free: int, first_s: int, longest_s: int) -> timedelta:
    """How long an account is throttled after so many failures in a row: not at all up to `free`, then doubling."""
    if failures < free:
        return timedelta()
    return timedelta(seconds=min(longest_s, first_s * 2 ** min(failures - free, 30)))
