"""Customers who leave while something dies: what of them is left, in every service."""

from typing import Any

from contracts.privacy import PrivacyApi
from contracts.users import UsersApi
from services.users.flows import PARTICIPANTS
from tests.faults.world import Case, Flow, World

LEFT = dict.fromkeys(PARTICIPANTS, 0) | {"users": 1}
"""Records about somebody who was erased: users' note that it was done."""


class Doors(World):
    """A world that customers leave."""

    def order(self, case: Case) -> Any:
        return self.look(UsersApi.privacy_request, request_id=case.order_id)

    def ended(self, case: Case) -> Any:
        self._wait_for(case, lambda: self.order(case)["status"] != "running")
        return self.order(case)

    def _sagas(self, case: Case) -> list[Any]:
        found: list[Any] = self.look(UsersApi.find_sagas, text=case.email)["items"]
        return found

    def assert_holds(self, flow: Flow, case: Case, why: str) -> None:
        left = {name: self._left(contract, case) for name, contract in PARTICIPANTS.items()}
        found = (self.order(case)["status"], left, self._sagas(case))
        assert found == flow.end, f"{case.trace}, {why}: {found}, not {flow.end}"

    def _left(self, contract: type[PrivacyApi], case: Case) -> int:
        person = {"customer_id": case.customer_id, "email": case.email}
        return len(self.look(contract.personal_data, person=person)["items"])


def leave(world: World, case: Case) -> None:
    asked = dict(customer_id=case.customer_id, password="a-long-password", key=case.key)
    case.order_id = world.ask(case.trace, UsersApi.request_erasure, **asked)["id"]


ERASURE = Flow(
    "erasure",
    leave,
    ("erased", LEFT, []),
    (
        "users.request_erasure",
        "saga",
        *(f"{name}.begin_erasure" for name in PARTICIPANTS),
        *(f"{name}.erase" for name in PARTICIPANTS),
    ),
    outside=False,
)
