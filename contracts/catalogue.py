"""All contracts, by the names of their services: what the platform promises as a whole."""

from contracts.accounts import AccountsApi
from contracts.carts import CartsApi
from contracts.inventory import InventoryApi
from contracts.notifications import NotificationsApi
from contracts.orders import OrdersApi
from contracts.payments import PaymentsApi
from contracts.products import ProductsApi
from contracts.registry import RegistryApi
from contracts.risk import RiskApi
from contracts.shipping import ShippingApi
from contracts.support import SupportApi
from contracts.transactions import TransactionsApi
from contracts.users import UsersApi

CONTRACTS: dict[str, type] = {
    "users": UsersApi,
    "products": ProductsApi,
    "inventory": InventoryApi,
    "carts": CartsApi,
    "orders": OrdersApi,
    "payments": PaymentsApi,
    "shipping": ShippingApi,
    "notifications": NotificationsApi,
    "risk": RiskApi,
    "accounts": AccountsApi,
    "transactions": TransactionsApi,
    "support": SupportApi,
    "registry": RegistryApi,
}
