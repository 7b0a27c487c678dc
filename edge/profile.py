"""Who a customer is to the shop: the profile, what they pay with, and the gift cards they hold."""

from msgspec.structs import asdict

from chassis.errors import OutcomeUnknown
from chassis.routes import Request, route
from chassis.types import CUSTOMER, STAFF
from contracts.common import Address
from contracts.payments import GiftCard, PaymentsApi
from contracts.users import Profile, UsersApi
from edge import bodies
from edge.asking import customer_of, key_of


class ProfileRoutes:
    """For the gateway, which inherits them. Each change answers the profile as it is then."""

    users: UsersApi
    payments: PaymentsApi

    @route("GET", "/v1/me", role=CUSTOMER, refuses=UsersApi.profile)
    def me(self, request: Request) -> bodies.Me:
        """The profile, with addresses, payment methods and gift cards."""
        return self._me(self.users.profile(customer_of(request)))

    @route("PATCH", "/v1/me", body=bodies.ProfileChanges, role=CUSTOMER, refuses=UsersApi.update)
    def change_me(self, request: Request[bodies.ProfileChanges]) -> bodies.Me:
        """Change what is given."""
        return self._me(
            self.users.update(customer_of(request), request.body.name, request.body.email, key=key_of(request))
        )

    @route("PUT", "/v1/me/addresses/{name}", body=Address, role=CUSTOMER, refuses=UsersApi.put_address)
    def put_address(self, request: Request[Address], name: str) -> bodies.Me:
        """Keep an address under a name."""
        return self._me(self.users.put_address(customer_of(request), name, request.body, key=key_of(request)))

    @route("DELETE", "/v1/me/addresses/{name}", role=CUSTOMER, refuses=UsersApi.delete_address)
    def delete_address(self, request: Request, name: str) -> bodies.Me:
        """Forget an address."""
        self.users.delete_address(customer_of(request), name, key=key_of(request))
        return self.me(request)

    @route(
        "POST",
        "/v1/me/payment-methods",
        body=bodies.NewPaymentMethod,
        role=CUSTOMER,
        success=201,
        refuses=UsersApi.add_payment_method,
    )
    def add_payment_method(self, request: Request[bodies.NewPaymentMethod]) -> bodies.Me:
        """Keep a card, by the acquirer's token. It is the last of the profile's `payment_methods`."""
        card = request.body
        self.users.add_payment_method(customer_of(request), card.token, card.brand, card.last4, key=key_of(request))
        return self.me(request)

    @route("DELETE", "/v1/me/payment-methods/{method_id}", role=CUSTOMER, refuses=UsersApi.delete_payment_method)
    def delete_payment_method(self, request: Request, method_id: str) -> bodies.Me:
        """Forget a payment method."""
        self.users.delete_payment_method(customer_of(request), method_id, key=key_of(request))
        return self.me(request)

    @route(
        "POST",
        "/v1/gift-cards",
        body=bodies.NewGiftCard,
        role=STAFF,
        idempotent="optional",
        success=201,
        refuses=PaymentsApi.issue_gift_card,
    )
    def issue_gift_card(self, request: Request[bodies.NewGiftCard]) -> GiftCard:
        """Give a customer a gift card. With the same Idempotency-Key it is the same card."""
        return self.payments.issue_gift_card(request.body.customer_id, request.body.amount, key=key_of(request))

    def _me(self, profile: Profile) -> bodies.Me:
        """Without payments the rest is still right, and is what people change here: their gift cards are then None,
        which says that nobody can tell just now, where an empty list would say that there are none."""
        gift_cards: list[GiftCard] | None = None
        try:
            gift_cards = self.payments.gift_cards(profile.id)
        except OutcomeUnknown:
            pass
        return bodies.Me(**asdict(profile), gift_cards=gift_cards)
