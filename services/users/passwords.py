"""Passwords: argon2id with OWASP's parameters, in threads of their own, for it takes a processor some 20 ms."""

import secrets
import unicodedata

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from chassis.offhub import off_hub

_hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1, type=Type.ID)
_nobodys = _hasher.hash(secrets.token_bytes(32))


def hash_of(password: str) -> str:
    """A new salted hash. Never call it inside a transaction: it yields."""
    return off_hub(_hasher.hash, _bytes_of(password))


def is_right(password: str, password_hash: str | None) -> bool:
    """Whether a password has this hash. Without a hash it takes as long, and is never right. Yields."""
    return off_hub(_verify, password_hash or _nobodys, _bytes_of(password)) and password_hash is not None


def is_outdated(password_hash: str) -> bool:
    """Whether it was made with other parameters than today's."""
    return _hasher.check_needs_rehash(password_hash)


def _verify(password_hash: str, password: bytes) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _bytes_of(password: str) -> bytes:
    # one person's keyboards write the same letter in several ways
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
