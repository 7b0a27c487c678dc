"""Every action on an order in every state, and all that a customer may do with what is offered.

`MATRIX` has a row for each state and a column for each action: offered, or why not. What is offered is taken through
every deed of `LEFT_ALONE`, after which the world has to be as it was, and is then confirmed by several clicks at once:
that has to come to what `AFTER` says, once. Where nothing is offered there is nothing to do with it: these deeds are
left out there.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from chassis.db import shift_clock
from tests.integration.test_cancel import stall
from tests.sandboxes import wait_until
from tests.shop import Shop, in_green_threads, running_companies, running_shop
from tests.talking import GREEN, RED, Talk, code_of, furnish, key

VALID_S = 300
"""An offer: shorter than an order waits for the customer's bank."""
LATE = timedelta(days=31)
CLICKS = 4
RETURN = [{"sku": RED, "quantity": 1, "reason": "too bright"}]
ACCEPTED = [{"sku": RED, "accept": True, "restock": True, "note": "as new"}]

WISHES = {
    "cancel": ("do_cancel", "cancel order {id}"),
    "change_address": ("do_change_address", "send order {id} to 12 Rose Lane, 2612 AB Delft"),
    "change_items": ("do_change_items", "make the lamp of order {id} green"),
    "change_payment": ("do_change_payment", "pay order {id} with my card ending 4444"),
    "return": ("do_return", "return the lamp of order {id}, it is broken"),
    "exchange": ("do_exchange", "exchange the lamp of order {id} for the green one"),
    "resend_mail": ("do_resend_mail", "send me the mail about order {id} once more"),
}
"""By action: its intent, and how it is asked for, with all that has to be known."""

OFFERED, NO_MAIL = "Shall I do that?", "Shall I do that?\0"
"""What is offered; and what is offered, but the service that has it done then finds no mail."""
GONE = "cannot be cancelled any more"
FIXED = "cannot be changed any more"
MAKING = "is still being processed"
BUSY = "Something is being done to"
UNSENT = "Only what has been delivered can be"
OVER = "that is over"
ALL_BACK = "has come back already"
ALREADY = "cancelled already"

MATRIX = {
    #              cancel    address  items     payment  return    exchange  mail
    "pending":    (OFFERED,  MAKING,  MAKING,   MAKING,  UNSENT,   UNSENT,   NO_MAIL),
    "confirmed":  (OFFERED,  OFFERED, OFFERED,  OFFERED, UNSENT,   UNSENT,   OFFERED),
    "changing":   (BUSY,     BUSY,    BUSY,     BUSY,    BUSY,     BUSY,     OFFERED),
    "cancelling": (ALREADY,  BUSY,    BUSY,     BUSY,    BUSY,     BUSY,     OFFERED),
    "cancelled":  (ALREADY,  FIXED,   FIXED,    FIXED,   UNSENT,   UNSENT,   OFFERED),
    "shipped":    (GONE,     FIXED,   FIXED,    FIXED,   UNSENT,   UNSENT,   OFFERED),
    "delivered":  (GONE,     FIXED,   FIXED,    FIXED,   OFFERED,  OFFERED,  OFFERED),
    "late":       (GONE,     FIXED,   FIXED,    FIXED,   OVER,     OVER,     OFFERED),
    "returning":  (BUSY,     BUSY,    BUSY,     BUSY,    BUSY,     BUSY,     OFFERED),
    "returned":   (GONE,     FIXED,   ALL_BACK, FIXED,   ALL_BACK, ALL_BACK, OFFERED),
    "rejecting":  (GONE,     FIXED,   FIXED,    FIXED,   UNSENT,   UNSENT,   NO_MAIL),
    "rejected":   (GONE,     FIXED,   FIXED,    FIXED,   UNSENT,   UNSENT,   OFFERED),
}  # fmt: skip
"""By state, what is said to a wish. Each row is in WISHES' order."""

AFTER: dict[str, tuple[list[str], Counter[str], int, int, int]] = {
    "cancel": (["cancel"], Counter(refund=1), +1, 0, 0),
    "change_address": (["change"], Counter(), 0, 0, 0),
    "change_items": (["change"], Counter(), +1, -1, 0),
    "change_payment": (["change"], Counter(authorize=1, capture=1, refund=1), 0, 0, 0),
    "return": (["return"], Counter(), 0, 0, 0),
    "exchange": (["exchange"], Counter(), 0, -1, 0),
    "resend_mail": ([], Counter(), 0, 0, 1),
}
"""By action that was confirmed: the order's further amendments, what more happened at the acquirer, units more on the
shelf of red and of green lamps, and copies of mails."""
NEVER_CHARGED: tuple[list[str], Counter[str], int, int, int] = (["cancel"], Counter(), +1, 0, 0)
"""After a cancel of what was not charged yet."""

World = tuple[Any, ...]


class Yard:
    """Orders of one buyer in any state: a method for each row of MATRIX."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shop, self.rpc, self.monkeypatch = shop, shop.rpc, monkeypatch
        self.buyer: str = shop.buyer  # type: ignore[attr-defined]
        self.talk = Talk.of(shop, self.buyer, monkeypatch)
        self.eve, self.ahead = shop.customer(), timedelta()

    def order(self, order_id: str) -> Any:
        return self.rpc.orders.get(order_id)

    def world(self, order_id: str) -> World:
        """All that an action on this order may change. Its timeline goes on by itself, where something is stalled."""
        order = {name: value for name, value in self.order(order_id).items() if name != "timeline"}
        shelves = (self.shop.stock(RED), self.shop.stock(GREEN))
        return order, Counter(kind for kind, _ in self.shop.movements()), *shelves, self.copies()

    def copies(self) -> int:
        return sum(each["copy_of"] is not None for each in self.rpc.notifications.find(None, 100))

    def await_mail(self, order_id: str) -> None:
        wait_until(lambda: any(each["about"] == order_id for each in self.rpc.notifications.find(None, 100)), 30)

    def pass_time(self, more: timedelta) -> None:
        self.ahead += more
        shift_clock(self.ahead)

    # --- the states

    def pending(self) -> str:
        return self._until(self._place("tok_challenge"), lambda order: order["payment"]["status"] == "requires_action")

    def confirmed(self) -> str:
        return self._until(self._place(), _is("confirmed"))

    def changing(self) -> str:
        stall(self.monkeypatch, "shipping", "hold")
        order_id = self._asked(self.confirmed(), "change", lines=[{"sku": RED, "new_sku": GREEN, "quantity": 1}])
        return self._until(order_id, lambda _: self.shop.stock(GREEN)[1] == 1)  # all that goes on beside it is through

    def cancelling(self) -> str:
        stall(self.monkeypatch, "payments", "refund")
        order_id = self._asked(self.confirmed(), "cancel", reason="no more")
        return self._until(order_id, lambda _: self.shop.stock(RED)[2] == 0)

    def cancelled(self) -> str:
        return self._until(self._asked(self.confirmed(), "cancel", reason="no more"), _is("cancelled"))

    def shipped(self) -> str:
        return self._moved(1, "shipped")

    def delivered(self) -> str:
        return self._moved(3, "delivered")

    def late(self) -> str:
        order_id = self.delivered()
        self.pass_time(LATE)
        return order_id

    def returning(self) -> str:
        return self._asked(self.delivered(), "begin_return", lines=RETURN)

    def returned(self) -> str:
        order_id = self.returning()
        (begun,) = self.rpc.orders.returns(order_id)
        self.rpc.orders.decide_return(begun["id"], ACCEPTED, key=key())
        return self._until(order_id, _is("returned"))

    def rejecting(self) -> str:
        stall(self.monkeypatch, "inventory", "release")
        return self._until(self._place("tok_declined"), _is("rejecting"))

    def rejected(self) -> str:
        return self._until(self._place("tok_declined"), _is("rejected"))

    def _place(self, token: str = "tok_visa") -> str:
        self.rpc.carts.put_item({"customer_id": self.buyer}, RED, 1, key=key())
        return str(self.shop.place(self.buyer, f"{token}.{key()[:8]}")["id"])

    def _asked(self, order_id: str, method: str, **asked: Any) -> str:
        getattr(self.rpc.orders, method)(order_id, **asked, key=key())
        return order_id

    def _moved(self, times: int, status: str) -> str:
        order_id = self.confirmed()
        for _ in range(times):
            self.rpc.shipping.advance(self.order(order_id)["shipment"]["tracking"], key=key())
        return self._until(order_id, _is(status))

    def _until(self, order_id: str, so: Callable[[Any], bool]) -> str:
        wait_until(lambda: so(self.order(order_id)), 30)
        return order_id

    # --- what is wished, and done with an offer

    def wish(self, kind: str, order_id: str) -> Any:
        """The assistant's answer, in a conversation of its own."""
        intent, text = WISHES[kind]
        return self.talk.begin(text.format(id=order_id[:8]), intent)

    def offer(self, kind: str, order_id: str) -> str:
        """The id of what is offered anew, in the conversation that is there."""
        intent, text = WISHES[kind]
        (action,) = self.talk.say(text.format(id=order_id[:8]), intent)["actions"]
        assert (action["kind"], action["status"], action["order_id"]) == (kind, "offered", order_id)
        return str(action["id"])

    def confirmed_by_another(self, action_id: str) -> str:
        code = code_of(lambda: self.talk.confirm(action_id, customer_id=self.eve))
        assert self.talk.action(action_id)["status"] == "offered"
        return code

    def declined(self, action_id: str) -> str:
        assert self.talk.decline(action_id)["status"] == "declined"
        return code_of(lambda: self.talk.confirm(action_id))

    def expired(self, action_id: str) -> str:
        self.pass_time(timedelta(seconds=VALID_S + 1))
        try:
            return code_of(lambda: self.talk.confirm(action_id))
        finally:
            self.pass_time(-timedelta(seconds=VALID_S + 1))


LEFT_ALONE = {
    Yard.confirmed_by_another: "support.not_found",
    Yard.declined: "support.action_over",
    Yard.expired: "support.action_over",
}
"""Deeds after which nothing is done, and what a yes is answered with then."""


def _is(status: str) -> Callable[[Any], bool]:
    """Whether an order is in a state, and nothing goes on with it."""
    return lambda order: (
        order["status"] == status
        and (status in ("cancelling", "rejecting") or not any(each["status"] in BEGUN for each in order["amendments"]))
    )


BEGUN = ("pending", "settling")


@pytest.fixture
def yard(migrated_config: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with (
        running_companies(tmp_path) as companies,
        running_shop(migrated_config, *companies, support_action_valid_s=VALID_S) as shop,
    ):
        yield Yard(furnish(shop), monkeypatch)


def difference(before: World, after: World) -> tuple[list[str], Counter[str], int, int, int]:
    """As AFTER tells it."""
    known = {each["id"] for each in before[0]["amendments"]}
    amendments = [each["kind"] for each in after[0]["amendments"] if each["id"] not in known]
    red, green = (after[place][0] - before[place][0] for place in (2, 3))
    return amendments, after[1] - before[1], red, green, after[4] - before[4]


def require_done_once(yard: Yard, kind: str, order_id: str) -> None:
    """By several clicks at once, and one more when it is through."""
    before, action_id = yard.world(order_id), yard.wish(kind, order_id)["actions"][0]["id"]
    clicked = in_green_threads([lambda: yard.talk.confirm(action_id)["status"]] * CLICKS)
    assert set(clicked) <= {"started", "done"}
    wanted = NEVER_CHARGED if before[0]["status"] == "pending" else AFTER[kind]

    def settled() -> bool:
        order = yard.order(order_id)
        return order["status"] != "cancelling" and not any(each["status"] in BEGUN for each in order["amendments"])

    if kind != "resend_mail":  # it waits for nothing that goes on with the order
        wait_until(settled, 30)
    end = "started" if kind == "return" else "done"  # staff has to look at the goods first
    wait_until(lambda: yard.talk.action(action_id)["status"] == end, 30)
    came_to = difference(before, yard.world(order_id))
    assert yard.talk.confirm(action_id, 0)["status"] == end
    assert came_to == difference(before, yard.world(order_id)) == wanted, kind


def require_refused(yard: Yard, kind: str, order_id: str) -> None:
    before, action_id = yard.world(order_id), yard.wish(kind, order_id)["actions"][0]["id"]
    refused = yard.talk.confirm(action_id)
    assert (refused["status"], refused["reason_code"]) == ("refused", "notifications.not_found")
    assert yard.talk.told() == ["This could not be done: There is no mail about it yet."]
    assert yard.world(order_id) == before


def test_the_table_is_whole() -> None:
    assert {len(row) for row in MATRIX.values()} == {len(WISHES)}
    assert AFTER.keys() == WISHES.keys()


@pytest.mark.parametrize("state", MATRIX)
def test_what_is_offered_is_done_once_or_not_at_all_and_all_else_refused(yard: Yard, state: str) -> None:
    order_id = getattr(yard, state)()
    if MATRIX[state][-1] == OFFERED:
        yard.await_mail(order_id)
    before = yard.world(order_id)
    for kind, wanted in zip(WISHES, MATRIX[state], strict=True):
        said = yard.wish(kind, order_id)
        offered = wanted in (OFFERED, NO_MAIL)
        assert wanted.rstrip("\0") in said["text"], kind
        assert [each["kind"] for each in said["actions"]] == ([kind] if offered else []), said["text"]
        for deed, code in LEFT_ALONE.items() if offered else ():
            assert deed(yard, yard.offer(kind, order_id)) == code, (kind, deed)
    assert yard.world(order_id) == before
    for kind in (kind for kind, wanted in zip(WISHES, MATRIX[state], strict=True) if wanted == NO_MAIL):
        require_refused(yard, kind, order_id)
    done = [kind for kind, wanted in zip(WISHES, MATRIX[state], strict=True) if wanted == OFFERED]
    for kind in reversed(done):  # the mail first; what changes the order has one of its own
        require_done_once(yard, kind, order_id)
        order_id = order_id if kind == done[0] or kind == "resend_mail" else getattr(yard, state)()
