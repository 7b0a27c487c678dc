"""Who is asking: access tokens (short JWTs signed by users with Ed25519), checked from users' public keys."""

import base64
import binascii
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nameko.extensions import SharedExtension

from chassis.errors import Failure, Unavailable
from chassis.problems import Problem
from chassis.rpc import RpcClient
from chassis.types import CUSTOMER, OPERATOR, STAFF, Caller

ISSUER = AUDIENCE = "rialto"
SKEW_S = 30
KEYS_FRESH_S = 60.0
REFETCH_PAUSE_S = 5.0
KEYS_TIMEOUT_S = 2.0
MAX_REMEMBERED_TOKENS = 4096
SATISFIES = {
    CUSTOMER: frozenset({CUSTOMER, STAFF, OPERATOR}),
    STAFF: frozenset({STAFF, OPERATOR}),
    OPERATOR: frozenset({OPERATOR}),
}
"""For each role that a route may ask for, the roles that will do. Any account may do what a customer may."""


class Verifier:
    """Checks tokens against keys that `fetch_keys` gives by `kid`, raw Ed25519 public keys of 32 bytes.

    Keys are asked for again after a minute, and for an unknown `kid`, but at most every 5 s. While they cannot be
    fetched, the ones that are known go on being trusted.
    """

    def __init__(self, fetch_keys: Callable[[], Mapping[str, bytes]], clock: Callable[[], float] = time.time) -> None:
        self._fetch_keys, self._clock = fetch_keys, clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._failure: Failure | None = None
        self._lock = threading.Lock()
        self._remembered: dict[str, tuple[Caller, float]] = {}

    def caller_of(self, authorization: str | None) -> Caller | None:
        """The caller that an `Authorization` header proves; None without a header.

        Raises Problem 401 for a token that is not good, Unavailable for one that cannot be checked now.
        """
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated()
        self._keep_keys_fresh()
        caller, expires_at = self._remembered.get(token) or self._check(token)
        if expires_at + SKEW_S <= self._clock():
            raise invalid_token()
        return caller

    def _check(self, token: str) -> tuple[Caller, float]:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            claims = jwt.decode(
                token,
                self._key(kid),
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=SKEW_S,
                options={"require": ["exp", "sub", "iss", "aud"]},
            )
        except jwt.PyJWTError:
            raise invalid_token() from None
        roles = claims.get("roles")
        if claims.get("use") != "access" or not claims["sub"]:
            raise invalid_token()
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise invalid_token()
        checked = (
            Caller(customer_id=claims["sub"], roles=tuple(roles), session_id=_session_of(claims)),
            float(claims["exp"]),
        )
        if len(self._remembered) >= MAX_REMEMBERED_TOKENS:
            self._remembered.clear()
        self._remembered[token] = checked
        return checked

    def _key(self, kid: Any) -> Ed25519PublicKey:
        if not isinstance(kid, str):
            raise invalid_token()
        if kid not in self._keys:
            self._refetch()
        if kid in self._keys:
            return self._keys[kid]
        if self._failure is not None:
            raise self._failure
        raise invalid_token()

    def _keep_keys_fresh(self) -> None:
        if self._clock() - self._fetched_at >= KEYS_FRESH_S:
            self._refetch()
        if not self._keys and self._failure is not None:
            raise self._failure

    def _refetch(self) -> None:
        with self._lock:
            if self._clock() - self._asked_at < REFETCH_PAUSE_S:
                return
            try:
                keys = {kid: Ed25519PublicKey.from_public_bytes(raw) for kid, raw in self._fetch_keys().items()}
            except (Failure, ValueError) as exc:
                self._failure = Unavailable("users", str(exc))
            else:
                self._keys, self._failure = keys, None
                self._remembered.clear()  # so that a token of a key that was taken away ends with it
                self._fetched_at = self._clock()
            finally:
                self._asked_at = self._clock()


class TokenVerifier(SharedExtension):
    """A Verifier whose keys come from users."""

    rpc = RpcClient()

    def setup(self) -> None:
        self.caller_of = Verifier(self.fetch_keys).caller_of

    def fetch_keys(self) -> dict[str, bytes]:
        """Ask users for its public keys. Raises Failure when it does not answer with some."""
        context = {"caller": {"service": self.container.service_name}}
        answer = self.rpc.call("users", "public_keys", {}, timeout_s=KEYS_TIMEOUT_S, context=context)
        try:
            return {key["kid"]: _unpadded(key["public_key"]) for key in answer}
        except (KeyError, TypeError, binascii.Error) as exc:
            raise Unavailable("users", f"its public keys cannot be read: {exc!r}") from None


def _session_of(claims: Mapping[str, Any]) -> str | None:
    return claims["sid"] if isinstance(claims.get("sid"), str) else None


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def satisfies(caller: Caller, role: str) -> bool:
    return not SATISFIES[role].isdisjoint(caller.roles)


def unauthenticated() -> Problem:
    detail = "An access token is needed: Authorization: Bearer."
    return Problem(401, "auth.unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def invalid_token() -> Problem:
    challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    return Problem(401, "auth.invalid_token", "The token is not valid: refresh it, or log in again.", headers=challenge)


def forbidden(role: str) -> Problem:
    challenge = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
    return Problem(403, "auth.forbidden", f"This needs the role {role}.", headers=challenge)
