"""The other services as the assistant has them: asked in the name of who it talks with, whoever called."""

from typing import Protocol

from chassis.rpc import tuned
from contracts.accounts import AccountsApi
from contracts.orders import OrdersApi
from contracts.products import ProductsApi
from contracts.transactions import TransactionsApi
from contracts.users import UsersApi
from services.support.domain import acting_as
from services.support.talk.ports import Seen

ASK_S = 4.0


class Services(Protocol):
    """As SupportService has them."""

    orders: OrdersApi
    accounts: AccountsApi
    transactions: TransactionsApi
    products: ProductsApi
    users: UsersApi


def as_customer(services: Services, customer_id: str | None) -> Seen:
    """The services, each called as this customer; as nobody for a guest."""
    caller = acting_as(customer_id)
    return Seen(
        orders=tuned(services.orders, caller=caller, timeout_s=ASK_S),
        accounts=tuned(services.accounts, caller=caller, timeout_s=ASK_S),
        transactions=tuned(services.transactions, caller=caller, timeout_s=ASK_S),
        products=tuned(services.products, caller=caller, timeout_s=ASK_S),
        users=tuned(services.users, caller=caller, timeout_s=ASK_S),
    )
