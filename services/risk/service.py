"""risk: may this order go through, and why (not)."""

from chassis.commands import answer, claim, store_refusal, store_result, undo
from chassis.context import Call
from chassis.db import Database, WorkerDatabase
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.settings import Settings
from chassis.types import Message, Money
from contracts.orders import SagasForgotten
from contracts.risk import Assessment, Id, RiskApi
from services.risk import store
from services.risk.domain import Facts, Rules, decide, windows_of
from services.risk.models import Base


class RiskSettings(Message):
    risk_rules: Rules


class RiskService(DeadLetterOperations):
    name = "risk"

    call = provided(Call, CallContext(RiskApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner()
    settings = provided(RiskSettings, Settings(RiskSettings))

    @rpc
    def assess(self, order_id: Id, customer_id: Id, email: str, amount: Money, country: str, *, key: str) -> Assessment:
        # As @command does it, except that a refusal keeps its row: staff wants to see what was refused, and why.
        self.call.require_trusted()
        asked = dict(order_id=order_id, customer_id=customer_id, email=email, amount=amount, country=country)
        with self.db.write() as session:
            if not claim(session, key, "assess", asked, "ok"):
                known: Assessment = answer(session, key, "assess", asked, Assessment)
                return known
            # A customer has one pending order at a time, so none is counted here at the same time.
            windows = windows_of(self.settings.risk_rules)
            before = {window: store.spending(session, customer_id, amount.currency, window) for window in windows}
            facts = Facts(
                order_id=order_id, customer_id=customer_id, email=email, country=country, amount=amount, before=before
            )
            verdict = decide(facts, self.settings.risk_rules)
            assessment = store.keep(session, facts, verdict)
            if verdict.decision != "refuse":
                store_result(session, key, assessment)
                return assessment
            refusal = ServiceError("risk.refused", verdict.message, {"reasons": verdict.reasons})
            store_refusal(session, key, refusal)
        raise refusal

    @undo
    def forget(self, order_id: Id, customer_id: Id, email: str, amount: Money, country: str, *, key: str) -> None:
        self.call.require_trusted()
        store.forget(self.db.session, order_id)

    @rpc
    def get(self, order_id: Id) -> Assessment:
        self.call.require_staff()
        with self.db.read() as session:
            return store.newest(session, order_id)

    @handles(SagasForgotten)
    def on_sagas_forgotten(self, told: SagasForgotten) -> None:
        forget_sagas(self.db.session, "orders", told.saga_ids)
