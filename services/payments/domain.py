"""The rules of a payment. Pure: no I/O."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from chassis.errors import ServiceError
from chassis.types import Money
from contracts.common import PaymentMethod, PaymentPart

ROAD = ("none", "requires_action", "declined", "authorized", "voided", "captured", "refunded")
"""A part's states in the order in which they can follow. News that comes late never moves one back."""

OVER = ("declined", "voided", "captured", "refunded")
"""States in which a part's money is where it belongs, unless somebody asks for a refund."""

NEWS = {"authorize": "authorized", "void": "voided", "capture": "captured"}

SMALLEST, LARGEST = 1, 10**12
"""What a movement may be, in minor units."""

CARD, GIFT_CARD, WALLET = "card", "gift_card", "wallet"
NEEDS = {CARD: "token", GIFT_CARD: "id", WALLET: "account_id"}
"""Ways to pay, and what each needs to be told."""


@dataclass(frozen=True)
class Share:
    """What one part is asked to give, in minor units. `field` is where it stands in the request."""

    method: str
    amount: int
    field: str
    token: str | None = None
    gift_card_id: str | None = None
    account_id: str | None = None


def key_for(key: str, position: int, account_id: str | None) -> str:
    """By which key somebody else is asked for a part: the command's is the card's, each account has one of its own."""
    return key if account_id is None else f"{key}:w{position}"


def shares_of(method: PaymentMethod, total: Money) -> list[Share]:
    """The parts that a method pays a total by, in its order. Raises ServiceError whose details name the field."""
    if method.type != "split":
        if method.parts is not None:
            raise _invalid("method.parts", 'Only {"type": "split"} has parts.')
        return [_share(method, total.amount, "method")]
    parts = method.parts or []
    shares = [
        _share(part, amount, f"method.parts[{n}]")
        for n, (part, amount) in enumerate(zip(parts, _amounts(parts, total), strict=True))
    ]
    _require_once(shares)
    return shares


def _amounts(parts: list[PaymentPart], total: Money) -> list[int]:
    """What each part gives; one that says nothing takes the rest."""
    if not parts:
        raise _invalid("method.parts", "A split needs its parts.")
    for n, part in enumerate(parts):
        if part.amount is not None and part.amount.currency != total.currency:
            raise _invalid(f"method.parts[{n}].amount.currency", f"The amount to pay is in {total.currency}.")
        if part.amount is not None and part.amount.amount < SMALLEST:
            raise _invalid(f"method.parts[{n}].amount.amount", f"A part is at least {SMALLEST} minor unit.")
    silent = [n for n, part in enumerate(parts) if part.amount is None]
    rest = total.amount - sum(part.amount.amount for part in parts if part.amount is not None)
    if len(silent) > 1:
        raise _invalid(f"method.parts[{silent[1]}].amount", "Only one part may leave its amount out.")
    if silent and rest < SMALLEST:
        raise _invalid(f"method.parts[{silent[0]}].amount", "The other parts leave nothing for this one to pay.")
    if not silent and rest:
        raise _invalid("method.parts", f"The parts add up to {total.amount - rest}, not to {total.amount} minor units.")
    return [rest if part.amount is None else part.amount.amount for part in parts]


def _share(way: PaymentMethod | PaymentPart, amount: int, field: str) -> Share:
    if way.type not in NEEDS:
        known = ", ".join([*NEEDS, "split"] if field == "method" else NEEDS)
        raise ServiceError("payments.unsupported_method", f"Pay with one of: {known}.", {"field": f"{field}.type"})
    if not getattr(way, NEEDS[way.type]):
        raise _invalid(f"{field}.{NEEDS[way.type]}", f"A {way.type} needs its {NEEDS[way.type]}.")
    match way.type:
        case "card":
            return Share(way.type, amount, field, token=way.token)
        case "wallet":
            return Share(way.type, amount, field, account_id=way.account_id)
    return Share(way.type, amount, field, gift_card_id=way.id)


def _require_once(shares: list[Share]) -> None:
    """At most one card, and each gift card and account once."""
    seen: set[tuple[str, str | None]] = set()
    for share in shares:
        way = (share.method, share.gift_card_id or share.account_id)
        if way in seen and share.method == CARD:
            raise ServiceError("payments.one_card", "Pay with one card at most.", {"field": f"{share.field}.type"})
        if way in seen:
            need = NEEDS[share.method]
            raise _invalid(f"{share.field}.{need}", f"The same {need} can stand only once.")
        seen.add(way)


def _invalid(field: str, sentence: str) -> ServiceError:
    return ServiceError("request.invalid", sentence, {"field": field})


def status_after(kind: str, status: str, captured: int, refunded: int) -> str:
    """The state of a part once a movement of this kind is known; the sums include it. A part refunded is captured
    still."""
    news = NEWS.get(kind) or ("refunded" if refunded == captured else "captured")
    return max(status, news, key=ROAD.index)


def status_of(parts: Iterable[Any]) -> str:
    """A payment's state by those of its parts: until something is taken it is as far as the one least far."""
    parts = list(parts)
    captured = sum(part.captured for part in parts)
    if captured:
        return "refunded" if sum(part.refunded for part in parts) == captured else "captured"
    statuses: list[str] = [part.status for part in parts]
    return min(statuses, key=ROAD.index)


def spread(amount: int, over: Iterable[int]) -> Iterator[int]:
    """How much of an amount each of these takes, the first ones first."""
    for most in over:
        taken = min(amount, most)
        amount -= taken
        yield taken
