"""Transactions: a customer's money on its way, and what the bank tells of it."""

from chassis.problems import Problem
from chassis.routes import Reply, Request, route
from chassis.rpc import tuned
from chassis.types import CUSTOMER, OPERATOR
from contracts.payments import PaymentsApi
from contracts.transactions import Transaction, TransactionPage, TransactionsApi
from edge import bodies
from edge.asking import customer_of, key_of
from edge.begun import begun

BEGIN_S = 5.0
UNSETTLED = ("pending", "in_review")


class TransactionRoutes:
    """For the gateway, which inherits them."""

    transactions: TransactionsApi
    payments: PaymentsApi

    @route(
        "POST",
        "/v1/deposits",
        body=bodies.Deposit,
        role=CUSTOMER,
        idempotent=True,
        success=(202, 201),
        refuses=TransactionsApi.deposit,
    )
    def deposit(self, request: Request[bodies.Deposit]) -> Reply[Transaction]:
        """From a card to an account. Poll `GET /v1/transactions/{id}`, or wait with `Prefer: wait=5` (201)."""
        asked, wait_s = request.body, request.prefer_wait_s
        made = self._patient(wait_s).deposit(
            customer_of(request), asked.account_id, asked.amount, asked.payment_method, wait_s, key=key_of(request)
        )
        return _begun(made, wait_s)

    @route(
        "POST",
        "/v1/withdrawals",
        body=bodies.Withdrawal,
        role=CUSTOMER,
        idempotent=True,
        success=(202, 201),
        refuses=TransactionsApi.withdraw,
    )
    def withdraw(self, request: Request[bodies.Withdrawal]) -> Reply[Transaction]:
        """From an account to a bank account."""
        asked, wait_s = request.body, request.prefer_wait_s
        made = self._patient(wait_s).withdraw(
            customer_of(request), asked.account_id, asked.amount, asked.iban, wait_s, key=key_of(request)
        )
        return _begun(made, wait_s)

    @route(
        "POST",
        "/v1/transfers",
        body=bodies.Transfer,
        role=CUSTOMER,
        idempotent=True,
        success=(202, 201),
        refuses=TransactionsApi.transfer,
    )
    def transfer(self, request: Request[bodies.Transfer]) -> Reply[Transaction]:
        """From an account to anybody's, in the same currency."""
        asked, wait_s = request.body, request.prefer_wait_s
        made = self._patient(wait_s).transfer(
            customer_of(request),
            asked.from_account,
            asked.to_account,
            asked.amount,
            asked.reference,
            wait_s,
            key=key_of(request),
        )
        return _begun(made, wait_s)

    @route("GET", "/v1/transactions", query=bodies.TransactionQuery, role=CUSTOMER, refuses=TransactionsApi.find)
    def find_transactions(self, request: Request[None, bodies.TransactionQuery]) -> TransactionPage:
        """One's own transactions, newest first."""
        asked = request.query
        return self.transactions.find(customer_of(request), asked.kind, asked.status, asked.limit, asked.cursor)

    @route("GET", "/v1/transactions/{transaction_id}", role=CUSTOMER, refuses=TransactionsApi.get)
    def get_transaction(self, request: Request, transaction_id: str) -> Transaction:
        """One transaction with its timeline."""
        return self.transactions.get(transaction_id)

    @route(
        "POST",
        "/v1/transactions/{transaction_id}/reversal",
        body=bodies.Reversal,
        role=OPERATOR,
        idempotent="optional",
        success=(202, 201),
        refuses=TransactionsApi.reverse,
    )
    def reverse(self, request: Request[bodies.Reversal], transaction_id: str) -> Reply[Transaction]:
        """Take back a completed transfer or deposit: what is left of it, or a part."""
        asked, wait_s = request.body, request.prefer_wait_s
        made = self._patient(wait_s).reverse(transaction_id, asked.reason, asked.amount, wait_s, key=key_of(request))
        return _begun(made, wait_s)

    @route("POST", "/v1/hooks/bank", raw=True, success=204, refuses=PaymentsApi.bank_hook)
    def bank_hook(self, request: Request) -> None:
        """For the bank: signed news of a payout."""
        try:
            text = request.raw_body.decode()
        except UnicodeDecodeError:
            raise Problem(400, "request.bad_json", "The body must be UTF-8.") from None
        self.payments.bank_hook(request.headers.get("x-signature", ""), text, key=key_of(request))

    def _patient(self, wait_s: float) -> TransactionsApi:
        return tuned(self.transactions, timeout_s=wait_s + BEGIN_S)


def _begun(transaction: Transaction, wait_s: float) -> Reply[Transaction]:
    return begun(transaction, f"/v1/transactions/{transaction.id}", wait_s, transaction.status not in UNSETTLED)
