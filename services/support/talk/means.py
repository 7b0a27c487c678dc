"""What has to be known beside an order: a way to pay, an address, an account."""

from typing import Any

from contracts.accounts import Account
from contracts.users import SavedMethod
from services.support.talk import addresses, entities
from services.support.talk.case import Case, Part, Stop
from services.support.talk.memory import Choice, Goal
from services.support.talk.ports import Blind
from services.support.talk.slots import Slot, order_of
from services.support.talk.vocabulary import normal, values

ADDRESS = ("line1", "postal_code", "city")
"""What has to be said of an address; the rest may stay as it is."""


class PaymentSlot(Slot):
    """The value is a payment method as the contracts write it, with its label."""

    name = "payment"

    def takes_the_only_one(self, goal: Goal) -> bool:
        return goal.intent != "do_change_payment"

    def heard(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        means = entities.means(text)
        if means is None:
            return []
        if means.type == "gift_card":
            return [gift_card(case, means.id)] if means.id else []
        if means.token:
            label = case.words.say("means.new_card")
            return [Choice(value={"type": "card", "token": means.token}, label=label)]
        if means.type == "card":
            return [card(case, saved) for saved in case.sight.profile().payment_methods if _is_meant(saved, means)]
        return self._wallets(case, goal)

    def answered(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        heard = self.heard(case, goal, text)
        if heard or (entities.means(text) is not None):
            return heard
        last4 = entities.LAST4.fullmatch(normal(text))
        saved = case.sight.profile().payment_methods if last4 else []
        return [card(case, each) for each in saved if last4 and each.last4 == last4[0]]

    def every(self, case: Case, goal: Goal) -> list[Choice]:
        ways = [card(case, saved) for saved in case.sight.profile().payment_methods]
        try:
            ways += self._wallets(case, goal)
        except Blind:
            pass  # whoever pays by card need not wait for the accounts
        return ways

    def ask(self, case: Case, goal: Goal) -> str:
        return case.words.say("ask.payment" if self.every(case, goal) else "ask.payment_none")

    def _wallets(self, case: Case, goal: Goal) -> list[Choice]:
        currency = order_of(case, goal).totals.total.currency
        return [
            wallet(case, account)
            for account in case.sight.accounts()
            if account.status == "open" and account.currency == currency
        ]


def _is_meant(saved: SavedMethod, means: entities.Means) -> bool:
    brand = means.brand is None or means.brand in saved.brand.casefold()
    return brand and (means.last4 is None or means.last4 == saved.last4)


def card(case: Case, saved: SavedMethod) -> Choice:
    label = case.words.say("means.card", brand=saved.brand or case.words.say("means.a_card"), last4=saved.last4)
    return Choice(value={"type": "card", "id": saved.id}, label=label)


def wallet(case: Case, account: Account) -> Choice:
    available = case.words.money(account.balance.available)
    label = case.words.say("means.wallet", name=account.name, available=available)
    return Choice(value={"type": "wallet", "account_id": account.id}, label=label)


def gift_card(case: Case, card_id: str) -> Choice:
    return Choice(value={"type": "gift_card", "id": card_id}, label=case.words.say("means.gift_card", id=card_id))


def label_of(case: Case, method: dict[str, Any]) -> str:
    """A payment method in words."""
    if method["type"] == "wallet":
        mine = [account for account in case.sight.accounts() if account.id == method.get("account_id")]
        return wallet(case, mine[0]).label if mine else case.words.say("method.wallet")
    if method["type"] == "gift_card":
        return gift_card(case, str(method.get("id"))).label
    saved = [each for each in case.sight.profile().payment_methods if each.id == method.get("id")]
    return card(case, saved[0]).label if saved else case.words.say("means.new_card")


class AddressSlot(Slot):
    """The value is an address; until it is whole its parts are kept as `address_parts`."""

    name = "address"
    by_number = False

    def heard(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        if saved := self._saved(case, text):
            return saved
        parsed = addresses.parse(text)
        if addresses.is_address(parsed):
            return self._whole(case, goal, parsed)
        known = goal.slots.get(self.name)
        other = entities.order_ids(text) or entities.means(text) or entities.NAMED_DAY.search(normal(text))
        return [] if known is None or other else self._whole(case, goal, addresses.amended(known, text))

    def answered(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        if saved := self._saved(case, text):
            return saved
        parts = {**goal.slots.get("address_parts", {}), **addresses.parse(text)}
        gaps = [field for field in ADDRESS if not parts.get(field)]
        if len(gaps) == 1 and "," not in text and goal.slots.get("address_parts"):
            parts[gaps[0]] = addresses.bare(text).strip(" .")[:200]
        return self._whole(case, goal, parts)

    def ask(self, case: Case, goal: Goal) -> str:
        parts = goal.slots.get("address_parts", {})
        gaps = [field for field in ADDRESS if not parts.get(field)]
        if not gaps or len(gaps) == len(ADDRESS):
            return case.words.say("ask.address")
        return case.words.say("ask.address_more", gaps=case.words.all_of([case.words.say(f"field.{f}") for f in gaps]))

    def put(self, goal: Goal, value: Any) -> Goal:
        kept = {k: v for k, v in goal.slots.items() if k != "address_parts"}
        return goal.but(slots={**kept, self.name: value})

    def noted(self, goal: Goal, text: str) -> Goal:
        """With what an unfinished address has so far."""
        parts = {**goal.slots.get("address_parts", {}), **addresses.parse(text)}
        return goal.but(slots={**goal.slots, "address_parts": parts}) if parts else goal

    def _whole(self, case: Case, goal: Goal, parts: dict[str, str]) -> list[Choice]:
        before = order_of(case, goal).shipping_address
        whole = {"name": before.name, "country": before.country, **parts}
        return [] if addresses.missing(whole) else [Choice(value=whole, label=whole["line1"])]

    def _saved(self, case: Case, text: str) -> list[Choice]:
        """Addresses of the customer's that are named by their name."""
        mine = case.sight.profile().addresses if "address" in normal(text) or "地址" in text else {}
        return [
            Choice(value={k: v for k, v in _plain(address).items() if v}, label=name)
            for name, address in mine.items()
            if normal(name) in normal(text)
        ]


def _plain(address: Any) -> dict[str, Any]:
    return {field: getattr(address, field) for field in ("name", "line1", "line2", "city", "postal_code", "country")}


class AccountSlot(Slot):
    name = "account"

    def heard(self, case: Case, goal: Goal, text: str) -> list[Choice]:
        plain, currencies = normal(text), values("currencies", text)
        found = [
            account
            for account in self._open(case)
            if account.currency in currencies or normal(account.name) in plain or account.id.casefold() in plain
        ]
        return [_account(case, account) for account in found]

    def every(self, case: Case, goal: Goal) -> list[Choice]:
        mine = self._open(case)
        if not mine:
            raise Stop(Part(text=case.words.say("no_accounts")))
        return [_account(case, account) for account in mine]

    def _open(self, case: Case) -> list[Account]:
        return [account for account in case.sight.accounts() if account.status == "open"]


def _account(case: Case, account: Account) -> Choice:
    label = case.words.say("account_label", name=account.name, available=case.words.money(account.balance.available))
    return Choice(value=account.id, label=label)
