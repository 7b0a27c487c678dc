"""Access tokens: short JWTs, signed with Ed25519. The private half of a key never leaves this service."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.users import PublicKey

ISSUER = AUDIENCE = "rialto"


def new_private_key() -> bytes:
    """32 raw bytes."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(kid: str, private_key: bytes) -> PublicKey:
    raw = Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    return PublicKey(kid=kid, public_key=base64.urlsafe_b64encode(raw).rstrip(b"=").decode())


def access_token(
    kid: str,
    private_key: bytes,
    *,
    account_id: str,
    roles: Sequence[str],
    session_id: str,
    at: datetime,
    lifetime: timedelta,
) -> str:
    """A token of one session. `use` tells it from any other JWT that this key may come to sign."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": account_id,
        "roles": list(roles),
        "use": "access",
        "sid": session_id,
        "iat": int(at.timestamp()),
        "nbf": int(at.timestamp()),
        "exp": int((at + lifetime).timestamp()),
        "jti": secrets.token_hex(16),
    }
    key = Ed25519PrivateKey.from_private_bytes(private_key)
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid})


def new_refresh_token() -> str:
    """256 random bits: opaque to everybody, and kept by its digest only."""
    return secrets.token_urlsafe(32)
