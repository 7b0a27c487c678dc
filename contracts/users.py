"""users: who somebody is, what they may do, where they live, what they pay with."""

from datetime import datetime
from typing import Annotated, Literal, Protocol

import msgspec

from chassis.privacy_types import Cursor, Person, Record
from chassis.types import Event, Message, api, event, refuses
from contracts.common import Address, Text
from contracts.operations import SagasApi
from contracts.privacy import PrivacyApi

Id = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[\w-]+$")]
Email = Annotated[str, msgspec.Meta(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
Password = Annotated[str, msgspec.Meta(min_length=8, max_length=128)]
Role = Literal["customer", "staff", "operator"]
AddressName = Annotated[str, msgspec.Meta(max_length=50, pattern=r"^[^/\x00-\x1f]+$")]
CardToken = Annotated[str, msgspec.Meta(max_length=200, pattern="^[!-~]+$")]
Brand = Annotated[str, msgspec.Meta(max_length=30, pattern=r"^[\w -]*$")]
Why = Annotated[str, msgspec.Meta(max_length=500)]
Last4 = Annotated[str, msgspec.Meta(max_length=4, pattern="^([0-9]{4})?$")]


class User(Message):
    id: str
    email: str
    name: str
    roles: list[str]


class SavedMethod(Message):
    """A card, as the acquirer's token with what a person may see of it."""

    id: str
    type: str
    token: str
    brand: str
    last4: str


class Profile(Message):
    id: str
    email: str
    name: str
    roles: list[str]
    addresses: dict[str, Address]
    payment_methods: list[SavedMethod]


class Tokens(Message):
    """`access_token` is a JWT for `expires_in` seconds; `refresh_token` works once."""

    access_token: str
    refresh_token: str
    expires_in: int
    token_type: str = "Bearer"


class Session(Message):
    user: User
    tokens: Tokens


class PublicKey(Message):
    """An Ed25519 key that access tokens are verified with: 32 raw bytes, base64url without padding."""

    kid: str
    public_key: str


class PrivacyRequest(Message):
    """What a customer asked for: an `export` of what is kept about them, or its `erasure`.

    `status`: running; an export is then ready, an erasure erased, or refused with what is not over in `open`, each
    service in its own words. `expires_at`: when this is removed; what was erased stays on record.
    """

    id: str
    kind: str
    status: str
    requested_at: datetime
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    open: list[str] = []


class ExportPart(Message):
    """`complete` is False where a service keeps more than an export holds."""

    service: str
    complete: bool
    items: list[Record]


class ExportDocument(Message):
    """What is kept about a customer, service by service, as far as one answer goes: more is behind `next_after`."""

    id: str
    requested_at: datetime
    parts: list[ExportPart]
    next_after: str | None


@event(
    "users",
    "sagas_forgotten",
    subscribers=(
        "accounts.on_privacy_forgotten",
        "carts.on_privacy_forgotten",
        "notifications.on_privacy_forgotten",
        "orders.on_privacy_forgotten",
        "payments.on_privacy_forgotten",
        "risk.on_privacy_forgotten",
        "shipping.on_privacy_forgotten",
        "support.on_privacy_forgotten",
        "transactions.on_privacy_forgotten",
    ),
)
class PrivacyForgotten(Event):
    """These sagas of users' are over and were removed: whoever kept rows for them removes those too."""

    saga_ids: list[str]


@api("users")
class UsersApi(PrivacyApi, SagasApi, Protocol):
    name: str

    @refuses("users.email_taken")
    def sign_up(self, email: Email, password: Password, name: Text, *, key: str) -> User:
        """A new customer. The address is compared without case; a repeat with the same key may say another password."""
        ...

    @refuses("users.bad_credentials", "users.throttled")
    def log_in(self, email: str, password: str) -> Session:
        """A new session. An unknown address answers as a wrong password does, in the same time.

        After some failures in a row an account is throttled for a while (details.retry_after_s). Each success is a
        session of its own: nothing of it is kept for a repeat.
        """
        ...

    @refuses("users.bad_refresh_token")
    def refresh(self, refresh_token: str) -> Tokens:
        """A new pair for an old refresh token, which is then used up; a used one coming again ends its whole family."""
        ...

    def log_out(self, session_id: Id) -> None:
        """End a session of the caller's own: its refresh tokens are dead. An access token lives on for its few minutes.

        One that has ended, never was, or is another's is no error, and nothing happens.
        """
        ...

    def public_keys(self) -> list[PublicKey]:
        """The keys that are in use."""
        ...

    @refuses("users.not_found")
    def profile(self, user_id: Id) -> Profile:
        """A user with addresses and payment methods: one's own, or an operator asks."""
        ...

    @refuses("users.not_found", "users.email_taken")
    def update(self, user_id: Id, name: Text | None = None, email: Email | None = None, *, key: str) -> Profile:
        """Change what is given."""
        ...

    @refuses("users.not_found")
    def set_roles(self, user_id: Id, roles: list[Role], *, key: str) -> User:
        """Give a user exactly these roles: customer, staff, operator (an operator does this)."""
        ...

    @refuses("users.not_found", "users.too_many_addresses")
    def put_address(self, user_id: Id, name: AddressName, address: Address, *, key: str) -> Profile:
        """Keep an address under a name of the user's own; at most 20."""
        ...

    @refuses("users.not_found")
    def delete_address(self, user_id: Id, name: AddressName, *, key: str) -> None:
        """Forget an address; one that is not there is no error."""
        ...

    @refuses("users.not_found", "users.too_many_payment_methods")
    def add_payment_method(self, user_id: Id, token: CardToken, brand: Brand, last4: Last4, *, key: str) -> SavedMethod:
        """Keep a card by the acquirer's token; at most 10."""
        ...

    @refuses("users.not_found")
    def delete_payment_method(self, user_id: Id, method_id: Id, *, key: str) -> None:
        """Forget a payment method; one that is not there is no error."""
        ...

    @refuses("users.not_found", "privacy.in_progress")
    def request_export(self, customer_id: Id, *, key: str) -> PrivacyRequest:
        """Collect what all services keep about a customer: for oneself. One at a time (details.id: the other)."""
        ...

    @refuses("users.not_found", "users.bad_credentials", "users.throttled", "privacy.in_progress")
    def request_erasure(
        self, customer_id: Id, password: str | None = None, reason: Why = "", *, key: str
    ) -> PrivacyRequest:
        """Have all services forget a customer, unless something is not over. The customer says the password again,
        which is throttled as a log-in is; staff may ask for somebody without."""
        ...

    @refuses("privacy.not_found")
    def privacy_request(self, request_id: Id) -> PrivacyRequest:
        """How far it is. An export is its customer's; an erasure is told to whoever has its id, for the customer cannot
        log in any more."""
        ...

    @refuses("privacy.not_found", "privacy.not_ready", "privacy.bad_cursor")
    def export_document(self, request_id: Id, after: Cursor | None = None) -> ExportDocument:
        """An export that is ready; `after` is the `next_after` of the answer before."""
        ...

    @refuses("privacy.not_found")
    def collect(self, request_id: Id, service: str, person: Person, *, key: str) -> None:
        """For users' own sagas: keep what a service says of a customer as parts of an export."""
        ...
