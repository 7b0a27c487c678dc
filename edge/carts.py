"""The cart as a page shows it: carts knows sku and quantity, products the name and the price of now."""

from chassis.types import Money
from contracts.carts import Cart
from contracts.products import Offer, ProductsApi
from edge.bodies import CartLine, CartView


def cart_view(cart: Cart, products: ProductsApi, currency: str) -> CartView:
    """Join a cart with its offers. What is not sold any more stays, at no price and not available."""
    skus = [line.sku for line in cart.lines]
    offers = {offer.sku: offer for offer in products.offers(skus)} if skus else {}
    lines = [_line(line.sku, line.quantity, offers.get(line.sku), currency) for line in cart.lines]
    total = sum(line.line_total.amount for line in lines)
    return CartView(lines=lines, total=Money(amount=total, currency=currency), version=cart.version)


def _line(sku: str, quantity: int, offer: Offer | None, currency: str) -> CartLine:
    price = offer.price if offer else Money(amount=0, currency=currency)
    return CartLine(
        sku=sku,
        name=offer.name if offer else sku,
        options=offer.options if offer else {},
        quantity=quantity,
        unit_price=price,
        line_total=Money(amount=price.amount * quantity, currency=price.currency),
        available=offer is not None and offer.available,
    )
