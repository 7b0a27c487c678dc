"""users: who somebody is, what they may do, where they live, what they pay with."""

from typing import Annotated, Literal, Protocol

import msgspec

from chassis.types import Message, api, refuses
from contracts.common import Address, Text

Id = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[\w-]+$")]
Email = Annotated[str, msgspec.Meta(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
Password = Annotated[str, msgspec.Meta(min_length=8, max_length=128)]
Role = Literal["customer", "staff", "operator"]
AddressName = Annotated[str, msgspec.Meta(max_length=50, pattern=r"^[^/\x00-\x1f]+$")]
CardToken = Annotated[str, msgspec.Meta(max_length=200, pattern="^[!-~]+$")]
Brand = Annotated[str, msgspec.Meta(max_length=30, pattern=r"^[\w -]*$")]
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


@api("users")
class UsersApi(Protocol):
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
