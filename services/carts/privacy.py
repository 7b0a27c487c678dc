"""What carts keeps about customers (see chassis/privacy.py). Nobody else needs a cart: it goes."""

from chassis.db import table_of
from chassis.privacy import Kind
from services.carts.models import Cart

_CART = table_of(Cart)

KINDS = (
    Kind(
        "cart",
        _CART,
        whose=lambda person: _CART.c.customer_id == person.customer_id,
        told=("id", "lines", "changed_at"),
        at=_CART.c.changed_at,
    ),
)
