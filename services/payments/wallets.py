"""The ledger, as payments sees it: another company, asked by keys of ours while no transaction is open.

It remembers what it refused, and what was let go before it came, so that asking again does nothing twice. What orders
take from customers' accounts goes to an account of the house's, from which it is booked as sold.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from chassis.errors import Failure, OutcomeUnknown, ServiceError
from chassis.types import Money
from contracts.accounts import Account, AccountsApi, NewEntry, Posting
from services.payments.domain import Share, key_for

TAKEN = "wallet_payments"
"""The role of the house's account."""
CLOSED = "accounts.closed"
REFUSALS = {
    "accounts.frozen": ("payments.wallet_frozen", "This account is frozen: please pay in another way."),
    "accounts.insufficient_funds": ("payments.wallet_insufficient", "There is too little available on this account."),
    CLOSED: ("payments.unknown_account", "This account is closed: please pay in another way."),
}
"""The ledger's codes, and ours with the sentence."""


@dataclass(frozen=True)
class Wallet:
    """What an account gives of a payment. `key` and `hold_id` are the ledger's names of the hold."""

    account_id: str
    amount: Money
    order_id: str
    key: str
    hold_id: str

    def entry(self) -> NewEntry:
        return _entry("wallet_payment", self.order_id, self.account_id, self.amount, self.amount.amount)


def wallet_of(part: Row[Any]) -> Wallet:
    return Wallet(
        account_id=part.account_id,
        amount=Money(amount=part.amount, currency=part.currency),
        order_id=part.order_id,
        key=_named(key_for(part.authorize_key, part.position, part.account_id)),
        hold_id=f"payment:{part.payment_id}:{part.position}",
    )


class Ledger:
    """Every method may also raise Unavailable or OutcomeUnknown: ask again with the same key."""

    def __init__(self, accounts: AccountsApi) -> None:
        self._accounts = accounts

    def require(self, share: Share, customer_id: str | None, currency: str) -> None:
        """Raises ServiceError if this share could not be held now, as `hold`."""
        account = self._own(share, customer_id, currency)
        if account.status != "open":
            raise _refusal(ServiceError(f"accounts.{account.status}", ""), share, account)
        if account.balance.available.amount < share.amount:
            raise _refusal(ServiceError("accounts.insufficient_funds", ""), share, account)

    def hold(self, wallet: Wallet, share: Share, customer_id: str | None) -> bool:
        """Set a share aside on an account of the customer's; False if it was let go before.

        Refusals: payments.unknown_account, wallet_frozen, wallet_insufficient, request.invalid (another currency).
        """
        account = self._own(share, customer_id, wallet.amount.currency)
        try:
            self._accounts.hold(wallet.hold_id, wallet.entry(), key=wallet.key)
        except ServiceError as exc:
            if exc.code == "saga.fenced":
                return False
            raise _refusal(exc, share, account) from exc
        return True

    def release(self, wallet: Wallet) -> None:
        """Undo `hold`; one that never came is refused when it comes. Refusal: payments.captured."""
        try:
            self._accounts.release(wallet.hold_id, wallet.entry(), key=wallet.key)
        except ServiceError as exc:
            if exc.code != "accounts.not_pending":
                raise _unexpected(exc) from exc
            raise ServiceError("payments.captured", "The account has paid: it can only be refunded.") from exc

    def settle(self, wallet: Wallet, amount: int, key: str) -> None:
        """Take what is held, or less; the rest is let go. Refusal: payments.capture_refused, where the hold was ended
        by somebody else."""
        taken = Money(amount=amount, currency=wallet.amount.currency)
        try:
            self._accounts.settle(wallet.hold_id, taken, key=_named(key))
        except ServiceError as exc:
            details = {"reason": exc.code, "account_id": wallet.account_id}
            raise ServiceError("payments.capture_refused", "The account does not hold it any more.", details) from exc

    def give_back(self, order_id: str, account_id: str, amount: Money, key: str) -> bool:
        """Book a refund to an account; False if it is closed, which is for ever. Refusal: payments.wallet_frozen, which
        may change: ask again with the same key."""
        entry = _entry("wallet_refund", order_id, account_id, amount, -amount.amount)
        try:
            self._accounts.book(entry, key=_named(key))
        except ServiceError as exc:
            if exc.code == CLOSED:
                return False
            if exc.code != "accounts.frozen":
                raise _unexpected(exc) from exc
            said = "The account takes nothing while it is frozen."
            raise ServiceError("payments.wallet_frozen", said, {"account_id": account_id}) from exc
        return True

    def _own(self, share: Share, customer_id: str | None, currency: str) -> Account:
        """The account, which has to be the customer's own, and in this currency: neither ever changes."""
        assert share.account_id is not None
        try:
            account = self._accounts.get(share.account_id)
        except ServiceError as exc:
            raise _unknown(share) from exc
        if customer_id is None or account.customer_id != customer_id:  # the house's own are nobody's
            raise _unknown(share)
        if account.currency != currency:
            said = f"This account is in {account.currency}, not in {currency}."
            raise ServiceError("request.invalid", said, _details(share))
        return account


def _entry(kind: str, order_id: str, account_id: str, amount: Money, out: int) -> NewEntry:
    """Money from the customer's account to the house's, or back where `out` is below zero."""
    house = f"{TAKEN}.{amount.currency}"
    postings = [
        Posting(account_id=account, amount=Money(amount=moved, currency=amount.currency))
        for account, moved in ((account_id, out), (house, -out))
    ]
    return NewEntry(postings=postings, kind=kind, subject=f"order:{order_id}")


def _named(key: str) -> str:
    """The ledger keeps its keys for ever, and for all its clients."""
    return f"payments:{key}"


def _unknown(share: Share) -> ServiceError:
    return ServiceError("payments.unknown_account", "You have no account with this id.", _details(share))


def _refusal(exc: ServiceError, share: Share, account: Account) -> Failure:
    """The ledger's refusal to its customer, whose account it is."""
    if exc.code not in REFUSALS:
        return _unexpected(exc)
    code, said = REFUSALS[exc.code]
    more = {"available": account.balance.available.amount} if code == "payments.wallet_insufficient" else {}
    return ServiceError(code, said, {**_details(share), **more})


def _details(share: Share) -> dict[str, Any]:
    return {"field": f"{share.field}.account_id", "account_id": share.account_id}


def _unexpected(exc: ServiceError) -> OutcomeUnknown:
    return OutcomeUnknown("accounts", f"refused, which should not be: {exc}")
