"""Customers' accounts, and the operators' view of the ledger."""

import csv
import hashlib
import io
from typing import Any

from chassis.currencies import decimal
from chassis.routes import Csv, Reply, Request, route
from chassis.rpc import tuned
from chassis.types import CUSTOMER, OPERATOR
from contracts.accounts import (
    Account,
    AccountLinePage,
    AccountsApi,
    Entry,
    NewEntry,
    Posting,
    Proposal,
    Statement,
    TrialBalance,
    Verification,
)
from edge import bodies
from edge.asking import customer_of, key_of

LOOKS_LIKE_A_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


class AccountRoutes:
    """`accounts` is the gateway's, which inherits these."""

    accounts: AccountsApi
    config: dict[str, Any]

    @route(
        "POST",
        "/v1/accounts",
        body=bodies.OpenAccount,
        role=CUSTOMER,
        idempotent="optional",
        success=201,
        refuses=AccountsApi.open,
    )
    def open_account(self, request: Request[bodies.OpenAccount]) -> Reply[Account]:
        """Open an account in a currency. It may not go below zero."""
        asked = request.body
        opened = self.accounts.open(customer_of(request), asked.currency, asked.name, key=_key(request))
        return Reply(opened, headers={"Location": f"/v1/accounts/{opened.id}"})

    @route("GET", "/v1/accounts", role=CUSTOMER, refuses=AccountsApi.of_customer)
    def my_accounts(self, request: Request) -> list[Account]:
        """One's accounts, the oldest first."""
        return self.accounts.of_customer(customer_of(request))

    @route("GET", "/v1/accounts/{account_id}", role=CUSTOMER, refuses=AccountsApi.get)
    def get_account(self, request: Request, account_id: str) -> Account:
        """One account with what is posted, pending and available."""
        return self.accounts.get(account_id)

    @route(
        "GET", "/v1/accounts/{account_id}/entries", query=bodies.PageQuery, role=CUSTOMER, refuses=AccountsApi.entries
    )
    def account_entries(self, request: Request[None, bodies.PageQuery], account_id: str) -> AccountLinePage:
        """What moved on an account, newest first, with the balance after each."""
        return self.accounts.entries(account_id, request.query.limit, request.query.cursor)

    @route("GET", "/v1/accounts/{account_id}/statements/{month}", role=CUSTOMER, refuses=AccountsApi.statement)
    def account_statement(self, request: Request, account_id: str, month: str) -> Reply[Csv]:
        """A month of an account, such as 2026-11, in UTC, as CSV: the opening balance, each line, the closing one."""
        stated = tuned(self.accounts, timeout_s=self._longest_s()).statement(account_id, month)
        headers = {"Content-Disposition": f'attachment; filename="{month}.csv"'}
        return Reply(_as_csv(stated), headers=headers, content_type="text/csv; charset=utf-8")

    @route(
        "POST",
        "/v1/accounts/{account_id}/freeze",
        body=bodies.Because,
        role=OPERATOR,
        idempotent="optional",
        refuses=AccountsApi.freeze,
    )
    def freeze_account(self, request: Request[bodies.Because], account_id: str) -> Account:
        """Let nothing more out or in, but what is held already."""
        return self.accounts.freeze(account_id, request.body.reason, key=_key(request))

    @route(
        "POST",
        "/v1/accounts/{account_id}/unfreeze",
        body=bodies.Because,
        role=OPERATOR,
        idempotent="optional",
        refuses=AccountsApi.unfreeze,
    )
    def unfreeze_account(self, request: Request[bodies.Because], account_id: str) -> Account:
        """Let it be used again."""
        return self.accounts.unfreeze(account_id, request.body.reason, key=_key(request))

    @route(
        "POST",
        "/v1/accounts/{account_id}/close",
        body=bodies.Because,
        role=OPERATOR,
        idempotent="optional",
        refuses=AccountsApi.close,
    )
    def close_account(self, request: Request[bodies.Because], account_id: str) -> Account:
        """Close an account at zero for ever."""
        return self.accounts.close(account_id, request.body.reason, key=_key(request))

    # --- the ledger

    @route("GET", "/v1/ledger/trial-balance", role=OPERATOR, refuses=AccountsApi.trial_balance)
    def trial_balance(self, request: Request) -> TrialBalance:
        """Debits and credits of the house's roles and of all customers, in each currency."""
        return self.accounts.trial_balance()

    @route("GET", "/v1/ledger/verify", query=bodies.VerifyQuery, role=OPERATOR, refuses=AccountsApi.verify)
    def verify_ledger(self, request: Request[None, bodies.VerifyQuery]) -> Verification:
        """Walk the chain of blocks and reckon every balance anew. It reads all entries: not for every minute.

        `block` and `block_hash`: a block as it was kept elsewhere, which has to be in the chain.
        """
        asked = request.query
        return tuned(self.accounts, timeout_s=self._longest_s()).verify(asked.block, asked.block_hash)

    @route("GET", "/v1/ledger/entries/{entry_id}", role=OPERATOR, refuses=AccountsApi.entry)
    def ledger_entry(self, request: Request, entry_id: str) -> Entry:
        """One journal entry with its postings."""
        return self.accounts.entry(entry_id)

    @route(
        "POST",
        "/v1/ledger/entries",
        body=bodies.ManualEntry,
        role=OPERATOR,
        idempotent="optional",
        success=202,
        refuses=AccountsApi.propose,
    )
    def propose_entry(self, request: Request[bodies.ManualEntry]) -> Proposal:
        """Propose a manual entry. Another operator approves it, and only then is it booked."""
        asked = request.body
        entry = NewEntry(
            postings=[Posting(account_id=each.account_id, amount=each.amount) for each in asked.postings],
            kind=asked.kind,
            subject=asked.subject,
            memo=asked.memo,
            corrects=asked.corrects,
        )
        return self.accounts.propose(entry, asked.reason, key=_key(request))

    @route("GET", "/v1/ledger/proposals", role=OPERATOR, refuses=AccountsApi.proposals)
    def ledger_proposals(self, request: Request) -> list[Proposal]:
        """The latest 100 manual entries, newest first."""
        return self.accounts.proposals()

    @route(
        "POST",
        "/v1/ledger/proposals/{proposal_id}/approve",
        role=OPERATOR,
        idempotent="optional",
        refuses=AccountsApi.approve,
    )
    def approve_entry(self, request: Request, proposal_id: str) -> Proposal:
        """Book what another operator proposed."""
        return self.accounts.approve(proposal_id, key=_key(request))

    @route(
        "POST",
        "/v1/ledger/proposals/{proposal_id}/decline",
        body=bodies.Because,
        role=OPERATOR,
        idempotent="optional",
        refuses=AccountsApi.decline,
    )
    def decline_entry(self, request: Request[bodies.Because], proposal_id: str) -> Proposal:
        """Give a proposed entry up."""
        return self.accounts.decline(proposal_id, request.body.reason, key=_key(request))

    def _longest_s(self) -> float:
        """Those that read much may take as long as a request."""
        return float(self.config["http"]["timeout_ms"]) / 1000


def _key(request: Request) -> str:
    """The client's key, in their own name: another one's of the same wording is another key."""
    said = "\n".join((customer_of(request), request.method, request.path, key_of(request)))
    return f"http:{hashlib.sha256(said.encode()).hexdigest()}"


def _as_csv(stated: Statement) -> str:
    """Amounts as decimals of the currency; texts so that no spreadsheet takes them for formulas."""
    text = io.StringIO()
    write = csv.writer(text, quoting=csv.QUOTE_ALL).writerow
    write(("at", "entry", "kind", "subject", "memo", "amount", "balance", "currency"))
    currency = stated.opening.currency
    write(("", "", "opening", "", "", "", decimal(stated.opening), currency))
    for line in stated.lines:
        texts = [_harmless(each) for each in (line.kind, line.subject, line.memo)]
        write((line.at.isoformat(), line.entry_id, *texts, decimal(line.amount), decimal(line.balance), currency))
    write(("", "", "closing", "", "", "", decimal(stated.closing), currency))
    return text.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(LOOKS_LIKE_A_FORMULA) else text
