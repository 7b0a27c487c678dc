"""People who move money while things break: into their account, out of it, and to each other."""

import random
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

from tests.chaos.person import PASSWORD, PATIENCE_S, GaveUp, Journal, Person
from tests.chaos.wishes import CARDS, DECISIONS, one

KINDS = {"deposit": 4, "withdrawal": 2, "transfer": 4}
"""What is done, with shares."""
IBANS = {
    "DE89370400440532013000": (6, "completed"),
    "BE68539007547034": (1, "completed"),
    "NL91ABNA0417164300": (2, "completed"),
    "DE75512108001245126199": (1, "payments.payout_refused"),
}
"""Bank accounts with their shares, and what a withdrawal to each comes to: the second loses the bank's answer, the
third sends the money back days, or seconds, after it had arrived."""
AMOUNTS, LARGE, LARGE_SHARE = (100, 4000), 210_000, 0.04
"""Minor units; LARGE is what risk has staff look at."""
MAY_BE_SHORT = "accounts.insufficient_funds"
CODES = {"payments.declined", "payments.capture_refused"}
LAST = ("completed", "rejected", "reversed")
POLL_S = 0.5
THINK_S = 1.0


@dataclass(frozen=True)
class Move:
    """What a customer means to do with money once. `payee`: how many places on the receiver is, in the circle of all.

    `approved`: what staff decides, should they have to; `reversed_later`: the desk takes it back; `again`: it is asked
    for once more, with the same key, when it has ended.
    """

    kind: str
    amount: int
    card: str
    iban: str
    payee: int
    decision: str  # should the card's bank ask
    approved: bool
    reversed_later: bool
    again: bool

    @classmethod
    def draw(cls, chance: random.Random) -> "Move":
        kind, large = one(chance, KINDS), chance.random() < LARGE_SHARE
        return cls(
            kind=kind,
            amount=LARGE if large and kind == "deposit" else chance.randint(*AMOUNTS),
            card=one(chance, {card: share for card, (share, _) in CARDS.items()}),
            iban=one(chance, {iban: share for iban, (share, _) in IBANS.items()}),
            payee=chance.choice((1, 2)),
            decision=one(chance, DECISIONS),
            approved=chance.random() < 0.7,
            reversed_later=kind != "withdrawal" and chance.random() < 0.2,
            again=chance.random() < 0.3,
        )

    @property
    def comes_to(self) -> list[str]:
        """What it may come to when nothing breaks."""
        by_staff = [] if self.approved else ["transactions.review_refused"]
        if self.kind == "deposit":
            return [*self._by_card(), *by_staff]
        by_bank = IBANS[self.iban][1] if self.kind == "withdrawal" else "completed"
        return [by_bank, MAY_BE_SHORT, *by_staff]

    def _by_card(self) -> list[str]:
        if self.card == "tok_challenge" and self.decision == "refuse":
            return ["transactions.challenge_refused"]
        code = CARDS[self.card][1]
        return [code if code in CODES else "completed"]


class Saver(Person):
    """Somebody with an account and a card of their own, in a thread of their own; `desk` is the house's."""

    def __init__(self, seed: str, number: int, url: str, desk: Person, journal: Journal) -> None:
        name = f"saver-{number}"
        super().__init__(name, f"{name}@rialto.example", PASSWORD, url, journal)
        self.chance = random.Random(f"{seed}:{name}")
        self.desk, self.moves, self.account = desk, 0, ""
        self.others: list[str] = []

    def open_account(self) -> None:
        self.sign_up()
        body = {"currency": "EUR", "name": "wallet"}
        self.account = str(self.ask("POST", "/v1/accounts", f"{self.name}-wallet", json=body).json()["id"])

    def go_on_until(self, closing: threading.Event) -> None:
        """Move money again and again; what was begun is followed to its end."""
        while not closing.is_set():
            try:
                self.move()
            except GaveUp as exc:
                self.journal.note("gave up", who=self.name, asking=str(exc))
            closing.wait(self.chance.uniform(0, THINK_S))

    def move(self) -> None:
        """Move money once, and follow it to its end."""
        self.moves += 1
        move, key = Move.draw(self.chance), f"{self.name}-move-{self.moves}"
        self.journal.note("moves", who=self.name, key=key, comes_to=move.comes_to, **asdict(move))
        path, body = self._request(move)
        begun = self._ask_for(path, body, key)
        if begun is None:
            return
        end = self._follow(begun["id"], move)
        if move.again:
            self._ask_for(path, body, key)
        if move.reversed_later and end == "completed":
            self._have_reversed(begun["id"], key)

    def _request(self, move: Move) -> tuple[str, dict[str, Any]]:
        amount = {"amount": move.amount, "currency": "EUR"}
        card = {"type": "card", "token": f"{move.card}.{self.name}"}
        to = self.others[move.payee - 1]
        return {
            "deposit": ("/v1/deposits", {"account_id": self.account, "amount": amount, "payment_method": card}),
            "withdrawal": ("/v1/withdrawals", {"account_id": self.account, "amount": amount, "iban": move.iban}),
            "transfer": (
                "/v1/transfers",
                {"from_account": self.account, "to_account": to, "amount": amount, "reference": "for chaos"},
            ),
        }[move.kind]

    def _ask_for(self, path: str, body: dict[str, Any], key: str) -> dict[str, Any] | None:
        answer = self.ask("POST", path, key, json=body)
        told: dict[str, Any] = answer.json()
        self.journal.note(
            "moved", key=key, status=answer.status_code, transaction=told.get("id"), code=told.get("code")
        )
        return told if answer.is_success else None

    def _follow(self, transaction_id: str, move: Move | None = None) -> str:
        """Look at it until it has ended, and do on its way what was meant; its last state."""
        give_up_at, seen, decided, looked_at = time.monotonic() + PATIENCE_S, "", False, False
        while time.monotonic() < give_up_at and seen not in LAST:
            answer = self.ask("GET", f"/v1/transactions/{transaction_id}")
            found: dict[str, Any] = answer.json()
            status = found["status"] if answer.is_success else f"answered {answer.status_code}"
            if status != seen:
                self.journal.note("watched", transaction=transaction_id, status=status, code=found.get("reason_code"))
            seen = status
            if move and found.get("action_url") and not decided:
                form = {"data": {"decision": move.decision}, "headers": {"Authorization": ""}}
                self.ask("POST", found["action_url"], **form)
                decided = True
            if move and seen == "in_review" and not looked_at:
                looked_at = self._have_looked_at(transaction_id, move.approved)
            if seen not in LAST:
                time.sleep(POLL_S)
        return seen

    def _have_looked_at(self, transaction_id: str, approved: bool) -> bool:
        """The desk takes the review and decides; False if there is none yet."""
        open_ones = self.desk.ask("GET", "/v1/risk/reviews?state=open&limit=100").json()["items"]
        review = next((each["id"] for each in open_ones if each["subject_id"] == transaction_id), None)
        if review is None:
            return False
        self.desk.ask("POST", f"/v1/risk/reviews/{review}/claim", f"claim-{review}")
        word = "approve" if approved else "refuse"
        path, body = f"/v1/risk/reviews/{review}/{word}", {"reason": "for chaos"}
        answer = self.desk.ask("POST", path, f"{word}-{review}", json=body)
        self.journal.note("looked at", transaction=transaction_id, word=word, status=answer.status_code)
        return True

    def _have_reversed(self, transaction_id: str, key: str) -> None:
        """The desk takes back all of it, if the money is still there."""
        body, path = {"reason": "for chaos"}, f"/v1/transactions/{transaction_id}/reversal"
        answer = self.desk.ask("POST", path, f"reverse-{key}", json=body)
        told = answer.json()
        self.journal.note("reversed", of=transaction_id, status=answer.status_code, transaction=told.get("id"))
        if answer.is_success:
            self._follow(told["id"])


def in_a_circle(savers: list[Saver]) -> None:
    """Tell each the others' accounts. Whom one pays depends on where one stands, so that few pay the same one: risk
    has staff look at whom many pay."""
    for number, saver in enumerate(savers):
        saver.others = [each.account for each in (*savers[number + 1 :], *savers[:number])]
