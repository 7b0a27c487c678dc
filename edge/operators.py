"""The operators' part of the gateway: sagas and dead letters of all services, and whether the books agree."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from chassis.cursors import after_letter, after_saga
from chassis.errors import ServiceError
from chassis.operator_types import Action, DeadLetter, DeadLetterPage, Saga, SagaPage
from chassis.routes import Reply, Request, etag, route
from chassis.rpc import call_async, tuned
from chassis.types import OPERATOR
from contracts.accounts import AccountsApi
from contracts.carts import CartsApi
from contracts.inventory import InventoryApi
from contracts.notifications import NotificationsApi
from contracts.operations import DeadLettersApi, SagasApi
from contracts.orders import OrdersApi, Repaired
from contracts.payments import PaymentsApi
from contracts.products import ProductsApi
from contracts.risk import RiskApi
from contracts.shipping import ShippingApi
from contracts.support import SupportApi
from contracts.transactions import TransactionsApi
from contracts.users import UsersApi
from edge import bodies
from edge.audit import Auditor
from edge.gather import ask_all, ask_owner

FENCED = OrdersApi.operate_saga
"""What each service's `operate_saga` may refuse with, in the document."""

REPAIR_S = 12.0
"""So long a comparison of all books may take to be waited for; it goes on without."""


class OperatorRoutes:
    """Routes for who runs the shop. What they ask for is the gateway's, which inherits them."""

    config: dict[str, Any]
    accounts: AccountsApi
    carts: CartsApi
    inventory: InventoryApi
    notifications: NotificationsApi
    orders: OrdersApi
    payments: PaymentsApi
    products: ProductsApi
    risk: RiskApi
    shipping: ShippingApi
    support: SupportApi
    transactions: TransactionsApi
    users: UsersApi

    # --- sagas

    @route("GET", "/v1/sagas", query=bodies.SagaQuery, role=OPERATOR, refuses=OrdersApi.find_sagas)
    def find_sagas(self, request: Request[None, bodies.SagaQuery]) -> SagaPage:
        """Sagas of all services, newest first. A service that does not answer is named in `missing`."""
        ask = request.query
        asked = (ask.status, ask.name, ask.stuck, ask.attention, ask.older_than_s, ask.text, ask.limit, ask.cursor)
        answers, missing = ask_all(
            {name: partial(call_async, api.find_sagas, *asked) for name, api in self._with_sagas().items()}
        )
        found = [saga for page in answers.values() for saga in page.items]
        found.sort(key=lambda saga: (saga.created_at, saga.id), reverse=True)
        more = len(found) > ask.limit or any(page.next_cursor for page in answers.values())
        items = found[: ask.limit]
        return SagaPage(items=items, next_cursor=after_saga(items[-1]) if more else None, missing=missing)

    @route("GET", "/v1/sagas/{saga_id}", role=OPERATOR, refuses=OrdersApi.get_saga)
    def get_saga(self, request: Request, saga_id: str) -> Reply[Saga]:
        """One saga: its steps and timeline, with secrets masked, and what may be done to it. The ETag is its `ver`."""
        return _shown(ask_owner(self._with_sagas().values(), lambda api: api.get_saga(saga_id), "sagas.not_found"))

    @route("POST", "/v1/sagas/{saga_id}/retry", body=bodies.Because, role=OPERATOR, fenced=True, refuses=FENCED)
    def retry_saga(self, request: Request[bodies.Because], saga_id: str) -> Reply[Saga]:
        """Have a saga tried again at once, instead of after its back-off."""
        return self._operate(request, saga_id, "retry")

    @route("POST", "/v1/sagas/{saga_id}/pause", body=bodies.Because, role=OPERATOR, fenced=True, refuses=FENCED)
    def pause_saga(self, request: Request[bodies.Because], saga_id: str) -> Reply[Saga]:
        """Have nobody drive a saga until it is resumed. Its deadline goes on."""
        return self._operate(request, saga_id, "pause")

    @route("POST", "/v1/sagas/{saga_id}/resume", body=bodies.Because, role=OPERATOR, fenced=True, refuses=FENCED)
    def resume_saga(self, request: Request[bodies.Because], saga_id: str) -> Reply[Saga]:
        """Have a paused saga go on at once."""
        return self._operate(request, saga_id, "resume")

    @route("POST", "/v1/sagas/{saga_id}/skip-step", body=bodies.SkipStep, role=OPERATOR, fenced=True, refuses=FENCED)
    def skip_step(self, request: Request[bodies.SkipStep], saga_id: str) -> Reply[Saga]:
        """Leave out a step after the point of no return, which then is never done."""
        return self._operate(request, saga_id, "skip-step", request.body.step)

    @route(
        "POST", "/v1/sagas/{saga_id}/force-compensate", body=bodies.Because, role=OPERATOR, fenced=True, refuses=FENCED
    )
    def force_compensate(self, request: Request[bodies.Because], saga_id: str) -> Reply[Saga]:
        """Turn a saga round that has not reached its point of no return."""
        return self._operate(request, saga_id, "force-compensate")

    @route("POST", "/v1/sagas/{saga_id}/resolve", body=bodies.Resolve, role=OPERATOR, fenced=True, refuses=FENCED)
    def resolve_saga(self, request: Request[bodies.Resolve], saga_id: str) -> Reply[Saga]:
        """Take what needs attention as settled by hand: an undo, or a step after the point of no return."""
        return self._operate(request, saga_id, "resolve", request.body.step)

    def _operate(self, request: Request[Any], saga_id: str, action: Action, step: str | None = None) -> Reply[Saga]:
        why, key = request.body.reason, request.key or ""

        def ask(api: SagasApi) -> Saga:
            return api.operate_saga(saga_id, action, request.ver, why, step, key=key)

        return _shown(ask_owner(self._with_sagas().values(), ask, "sagas.not_found"))

    # --- dead letters

    @route("GET", "/v1/dead-letters", query=bodies.DeadLetterQuery, role=OPERATOR, refuses=OrdersApi.find_dead_letters)
    def find_dead_letters(self, request: Request[None, bodies.DeadLetterQuery]) -> DeadLetterPage:
        """Events that a handler failed with too often, newest first. A silent service is named in `missing`."""
        ask, services = request.query, self._with_letters()
        if ask.service is not None:
            services = {name: api for name, api in services.items() if name == ask.service}
        answers, missing = ask_all(
            {
                name: partial(call_async, api.find_dead_letters, ask.handler, ask.state, ask.limit, ask.cursor)
                for name, api in services.items()
            }
        )
        found = [letter for page in answers.values() for letter in page.items]
        found.sort(key=lambda letter: letter.id, reverse=True)
        found.sort(key=lambda letter: letter.service)
        found.sort(key=lambda letter: letter.at, reverse=True)
        more = len(found) > ask.limit or any(page.next_cursor for page in answers.values())
        items = found[: ask.limit]
        return DeadLetterPage(items=items, next_cursor=after_letter(items[-1]) if more else None, missing=missing)

    @route(
        "POST",
        "/v1/dead-letters/{service}/{letter_id}/replay",
        body=bodies.Because,
        role=OPERATOR,
        refuses=OrdersApi.replay_dead_letter,
    )
    def replay_dead_letter(self, request: Request[bodies.Because], service: str, letter_id: str) -> DeadLetter:
        """Have the event handled now, once. If its handler fails again the letter stays (409)."""
        return self._letters_of(service, letter_id).replay_dead_letter(int(letter_id), request.body.reason)

    @route(
        "POST",
        "/v1/dead-letters/{service}/{letter_id}/drop",
        body=bodies.Because,
        role=OPERATOR,
        refuses=OrdersApi.drop_dead_letter,
    )
    def drop_dead_letter(self, request: Request[bodies.Because], service: str, letter_id: str) -> DeadLetter:
        """Give an event up: it is never handled."""
        api = self._letters_of(service, letter_id)
        return api.drop_dead_letter(int(letter_id), request.body.reason, key=request.key or "")

    def _letters_of(self, service: str, letter_id: str) -> DeadLettersApi:
        api = self._with_letters().get(service)
        if api is None or not (letter_id.isascii() and letter_id.isdecimal() and len(letter_id) <= 15):
            raise ServiceError("dead_letters.not_found", f"{service} has no dead letter {letter_id!r}.")
        return api

    # --- the books

    @route("GET", "/v1/audit", role=OPERATOR)
    def audit(self, request: Request) -> bodies.Audit:
        """Whether stock, money and sagas agree between the services."""
        settle = timedelta(seconds=self.config["audit_settle_s"])
        services = (self.orders, self.inventory, self.payments, self.shipping, self.transactions, self.accounts)
        return Auditor(*services, settle=settle).run()

    @route("POST", "/v1/audit/repair", role=OPERATOR, refuses=OrdersApi.repair)
    def repair(self, request: Request) -> Repaired:
        """Compare the books with the other companies' now, mend what is safe, and note the rest as incidents."""
        return tuned(self.orders, timeout_s=REPAIR_S).repair()

    # --- who has what

    def _with_sagas(self) -> Mapping[str, SagasApi]:
        return {"orders": self.orders, "transactions": self.transactions, "users": self.users}

    def _with_letters(self) -> Mapping[str, DeadLettersApi]:
        return {
            "accounts": self.accounts,
            "carts": self.carts,
            "inventory": self.inventory,
            "notifications": self.notifications,
            "orders": self.orders,
            "payments": self.payments,
            "products": self.products,
            "risk": self.risk,
            "shipping": self.shipping,
            "support": self.support,
            "transactions": self.transactions,
        }


def _shown(saga: Saga) -> Reply[Saga]:
    return Reply(saga, headers={"ETag": etag(saga.ver)})
