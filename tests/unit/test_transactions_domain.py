"""The rules of transactions."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.errors import ServiceError
from chassis.types import Money
from contracts.accounts import NewEntry
from contracts.common import PaymentMethod
from contracts.risk import Subject
from services.transactions.domain import (
    Fee,
    Limits,
    Moving,
    TransactionSettings,
    arrived_entry,
    deposit_entry,
    fee_of,
    iban_of,
    limits_of,
    refund_entry,
    require_in_range,
    returned_entry,
    subject_of,
    transfer_entry,
    withdrawal_entry,
)


def euro(amount: int) -> Money:
    return Money(amount=amount, currency="EUR")


def moving(kind: str, fee: int = 5, **terms: Any) -> Moving:
    return Moving(
        id="t1", kind=kind, customer_id="c1", email="a@b.c", name="Ada", amount=euro(100), fee=euro(fee), **terms
    )


def postings(entry: NewEntry) -> list[tuple[str, int]]:
    assert sum(each.amount.amount for each in entry.postings) == 0
    return [(each.account_id, each.amount.amount) for each in entry.postings]


def test_each_entry_sums_to_zero_and_names_its_accounts() -> None:
    transfer = moving("transfer", from_account="a", to_account="b")
    assert postings(transfer_entry(transfer)) == [("a", 105), ("b", -100), ("fees.EUR", -5)]
    deposit = moving("deposit", to_account="a")
    assert postings(deposit_entry(deposit)) == [("acquirer_receivable.EUR", 105), ("a", -100), ("fees.EUR", -5)]
    withdrawal = moving("withdrawal", from_account="a")
    assert postings(withdrawal_entry(withdrawal)) == [("a", 105), ("payouts_in_transit.EUR", -100), ("fees.EUR", -5)]
    assert postings(arrived_entry(withdrawal)) == [("payouts_in_transit.EUR", 100), ("bank.EUR", -100)]
    assert postings(returned_entry(withdrawal, settled=True)) == [("bank.EUR", 100), ("a", -100)]
    assert postings(returned_entry(withdrawal, settled=False)) == [("payouts_in_transit.EUR", 100), ("a", -100)]
    assert postings(refund_entry(moving("reversal", from_account="a"))) == [
        ("a", 100),
        ("acquirer_receivable.EUR", -100),
    ]


def test_no_fee_leaves_no_posting() -> None:
    free = moving("transfer", fee=0, from_account="a", to_account="b")
    assert postings(transfer_entry(free)) == [("a", 100), ("b", -100)]


@pytest.mark.parametrize(("amount", "fee"), [(1, 50), (49, 50), (50, 51), (1000, 60), (1050, 61)])
def test_a_fee_is_permille_rounded_half_up_and_a_fixed_part(amount: int, fee: int) -> None:
    assert fee_of({"withdrawal": Fee(permille=10, fixed_minor=50)}, "withdrawal", euro(amount)) == euro(fee)
    assert fee_of({}, "withdrawal", euro(amount)) == euro(0)


def test_limits_go_by_currency_and_range_includes_its_ends() -> None:
    few = Limits(smallest=10, largest=20, per_day=9, per_30_days=9)
    many = Limits(smallest=1, largest=2, per_day=3, per_30_days=4)
    limits = {"transfer": {"default": few, "JPY": many}}
    assert (limits_of(limits, "transfer", "EUR"), limits_of(limits, "transfer", "JPY")) == (few, many)
    for amount in (10, 20):
        require_in_range(few, euro(amount))
    for amount in (-5, 0, 9, 21):
        with pytest.raises(ServiceError) as refused:
            require_in_range(few, euro(amount))
        assert refused.value.code == "transactions.amount_out_of_range"


def test_an_iban_is_checked_by_its_digits_and_kept_without_spaces() -> None:
    assert iban_of("de89 3704 0044 0532 0130 00") == "DE89370400440532013000"
    assert iban_of("BE68539007547034") == "BE68539007547034"  # of a bank that is in no list
    for wrong in ("DE89370400440532013001", "DE8937040044053201300", "XX00", "hello"):
        with pytest.raises(ServiceError) as refused:
            iban_of(wrong)
        assert refused.value.code == "transactions.bad_iban"


def test_risk_is_told_where_money_comes_from_and_goes_to() -> None:
    opened = datetime(2026, 1, 1, tzinfo=UTC)
    known = dict(id="t1", customer_id="c1", amount=euro(100), email="a@b.c")
    leaving = dict(account_id="a", account_opened_at=opened, balance=900)
    transfer = moving("transfer", from_account="a", to_account="b", opened_at=opened, balance=900)
    assert subject_of(transfer) == Subject(kind="transfer", payee="b", **known, **leaving)
    withdrawal = moving("withdrawal", from_account="a", iban="DE89", opened_at=opened, balance=900)
    assert subject_of(withdrawal) == Subject(kind="withdrawal", payee="DE89", **known, **leaving)
    deposit = moving("deposit", to_account="a", method=PaymentMethod(token="tok_visa"))
    assert subject_of(deposit) == Subject(kind="deposit", account_id="a", card="tok_visa", **known)


def test_without_risk_only_amounts_below_those_that_are_named_pass() -> None:
    settings = TransactionSettings(
        transactions_fees={}, transactions_limits={}, risk_open_below_minor={"transfer": {"EUR": 100}}
    )
    assert settings.passes("transfer", euro(99))
    assert not settings.passes("transfer", euro(100))
    assert not settings.passes("transfer", Money(amount=1, currency="USD"))
    assert not settings.passes("withdrawal", euro(1))
