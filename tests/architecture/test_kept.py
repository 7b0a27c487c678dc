"""No column of any service holds something about a customer that is neither told nor erased, nor known to be harmless.

What a service keeps about customers is its table of kinds; a new column belongs into one, or into a list here.
"""

import pytest
import yaml

from chassis.db import Database
from chassis.privacy import PrivacyOperations
from contracts.privacy import PrivacyApi
from services.transactions.privacy import SAGAS
from services.transactions.service import TransactionsService
from tests.architecture.kept import DOCUMENT, TABLE, kinds_of, table
from tests.architecture.source import ROOT
from tests.contract.services import SERVICES, api, service_class

NOBODY_KNOWN = {"products", "inventory", "registry"}
"""Services that know no customers: of orders they know the id."""

NOBODYS = {
    "accounts.block",
    "accounts.proposal",  # what operators book by hand, and why
    "orders.incident",
    "payments.payout",  # under the withdrawal's id, with what is left of an IBAN when it is shortened
    "risk.rule_set",
    "support.article",
    "support.canned",
    "users.signing_key",
}
"""Tables in which nothing is about a customer."""

PSEUDONYMS = {
    "customer_id",
    "receiver_id",
    "account_id",
    "order_id",
    "cart_id",
    "payment_id",
    "saga_id",
    "take_back_id",
    "entry_id",
    "hold_id",
    "screening_id",
    "conversation_id",
    "message_id",
    "action_id",
    "subject_id",
    "session_id",
    "id",
    "sid",
    "reverses",
    "ends",
    "corrects",
    "booked",
}
"""Ids: they say nothing of anybody once users has forgotten whose they were."""

TECHNICAL = {
    "accounts.account": "stripe type role limited pending_debits pending_credits",
    "accounts.entry": "key input_hash author hash block",
    "accounts.posting": "position stripe",
    "orders.orders": "reason_code review amended",
    "orders.amendment": "reason_code closed_at key",
    "payments.part": "position parts action_url refunding authorize_key",
    "payments.movement": "key command_key",
    "payments.gift_card_movement": "key",
    "risk.screening": "command_key score rules_version",
    "risk.denied": "reason author",
    "risk.review": "score needed approvals claimed_by claimed_until expires_at",
    "shipping.shipment": "command_key booking_key refusals on_hold carrier_sequence",
    "support.action": "by approved_by expires_at reason_code attempts next_at",
    "support.conversation": "token_hash queue priority assigned_to claimed_until handed_over_at first_due_at"
    " first_answered_at solve_due_at solved_at paused_at paused_s escalated happened",
    "support.happening": "author note intent confidence status assigned_to",
    "support.question": "nearest",
    "support.reading": "reader",
    "support.vote": "voter",
    "users.privacy_request": "author",
    "transactions.transactions": "reversing day reason_code return_settled",
}
"""Columns of how the house works: states, counts, moments, keys of commands, ids of staff."""
EVERYWHERE = {"sequence", "ver", "updated_at"}

WITH_KINDS = [service for service in SERVICES if kinds_of(service)]


def tables_of(service):
    parts = vars(service_class(service)).values()
    models = next(part for part in parts if isinstance(part, Database)).declarative_base.metadata
    return models.tables.values()


def known(service, table):
    """The columns that a kind tells or erases, or that are listed here."""
    if f"{service}.{table.name}" in NOBODYS:
        return set(table.c.keys())
    listed = PSEUDONYMS | EVERYWHERE | set(TECHNICAL.get(f"{service}.{table.name}", "").split())
    for kind in kinds_of(service):
        if kind.table is table:
            listed |= set(table.c.keys()) if kind.blank is None else {*kind.told, *kind.blank}
    return listed


def test_a_service_has_a_table_of_kinds_or_knows_no_customers():
    assert set(SERVICES) - set(WITH_KINDS) - NOBODY_KNOWN <= {"users"}


@pytest.mark.parametrize("service", WITH_KINDS)
def test_every_column_is_told_or_erased_or_known_to_say_nothing(service):
    forgotten = [
        f"{table.name}.{column}"
        for table in tables_of(service)
        for column in set(table.c.keys()) - known(service, table)
    ]
    assert sorted(forgotten) == []


@pytest.mark.parametrize("service", WITH_KINDS)
def test_what_is_listed_here_is_there(service):
    columns = {f"{service}.{table.name}": set(table.c.keys()) for table in tables_of(service)}
    listed = {name: set(names.split()) for name, names in TECHNICAL.items() if name.startswith(f"{service}.")}
    assert [name for name, names in listed.items() if names - columns.get(name, set())] == []
    assert {name for name in NOBODYS if name.startswith(f"{service}.")} <= set(columns)


@pytest.mark.parametrize("service", WITH_KINDS)
def test_a_kind_names_columns_that_there_are(service):
    kinds = kinds_of(service)
    named = {kind.name: {*kind.told, *(kind.blank or {})} - set(kind.table.c.keys()) for kind in kinds}
    assert {kind: wrong for kind, wrong in named.items() if wrong} == {}
    assert len({kind.name for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("service", WITH_KINDS)
def test_a_service_that_keeps_something_promises_and_prunes_it(service):
    served = service_class(service)
    assert issubclass(served, PrivacyOperations)
    assert PrivacyApi in api(service).__mro__
    assert served.pruner.kinds == served.kinds


def test_days_are_of_kinds_that_have_a_time():
    days = yaml.safe_load((ROOT / "config.yaml").read_text())["retention_days"]
    timed = {service: {kind.name for kind in kinds_of(service) if kind.at is not None} for service in days}
    assert [service for service, kinds in days.items() if set(kinds) - timed[service]] == []


def test_every_saga_of_a_transaction_is_forgotten_with_its_customer():
    assert {name for name, _ in TransactionsService.sagas.definitions} == set(SAGAS)


def test_the_document_has_the_table_that_the_kinds_make():
    assert TABLE.findall(DOCUMENT.read_text()) == [table()]
