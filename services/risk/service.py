"""risk: may this go through, and why (not). Rules in ruling.py, the review queue in reviewing.py."""

from datetime import timedelta

from chassis.commands import answer, claim, store_refusal, store_result, undo
from chassis.context import Call
from chassis.db import Database, WorkerDatabase
from chassis.dead_letters import DeadLetterOperations
from chassis.errors import ServiceError
from chassis.events import handles
from chassis.outbox import Relay
from chassis.privacy import PrivacyOperations
from chassis.provide import provided
from chassis.prune import Pruner, forget_sagas
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.settings import Settings
from chassis.types import Money
from contracts.orders import SagasForgotten
from contracts.risk import Assessment, Id, RiskApi, Screening, Subject
from contracts.transactions import TransactionsForgotten
from contracts.users import PrivacyForgotten
from services.risk import reviews, rulesets, store
from services.risk.expressions import shadow_of
from services.risk.features import OUTDATED, features, serialize
from services.risk.models import Base
from services.risk.privacy import KINDS
from services.risk.reviewing import Reviewing, RiskSettings
from services.risk.ruling import Ruling


class RiskService(DeadLetterOperations, PrivacyOperations, Ruling, Reviewing):
    name = "risk"
    kinds = KINDS

    call = provided(Call, CallContext(RiskApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(old=OUTDATED, kinds=KINDS)
    relay = Relay()
    settings = provided(RiskSettings, Settings(RiskSettings))

    @rpc
    def screen(self, subject: Subject, *, key: str) -> Screening:
        self.call.require_trusted()
        asked = dict(subject=subject)
        with self.db.write() as session:
            if not claim(session, key, "screen", asked, "ok"):
                known: Screening = answer(session, key, "screen", asked, Screening)
                return known
            screening, refusal = self._decide(subject, key)
            if refusal is None:
                if screening.decision == "review":
                    self._queue(subject, screening)
                store_result(session, key, screening)
                return screening
            store_refusal(session, key, refusal)
        raise refusal

    @undo
    def unscreen(self, subject: Subject, *, key: str) -> None:
        self.call.require_trusted()
        kept_id = store.of_key(self.db.session, key)
        if kept_id is not None:
            reviews.close_of(self.db.session, kept_id)  # first, as where a review ends: locks go in one order
            store.mark(self.db.session, kept_id, "gone")

    @rpc
    def assess(self, order_id: Id, customer_id: Id, email: str, amount: Money, country: str, *, key: str) -> Assessment:
        self.call.require_trusted()
        asked = dict(order_id=order_id, customer_id=customer_id, email=email, amount=amount, country=country)
        with self.db.write() as session:
            if not claim(session, key, "assess", asked, "ok"):
                known: Assessment = answer(session, key, "assess", asked, Assessment)
                return known
            screening, refusal = self._decide(_order(order_id, customer_id, email, amount, country), key)
            if refusal is None:
                store_result(session, key, store.assessed(screening))
                return store.assessed(screening)
            store_refusal(session, key, refusal)
        raise refusal

    @undo
    def forget(self, order_id: Id, customer_id: Id, email: str, amount: Money, country: str, *, key: str) -> None:
        self.call.require_trusted()
        for row in store.of_subject(self.db.session, order_id):
            store.mark(self.db.session, row.id, "gone")

    @rpc
    def get(self, order_id: Id) -> Assessment:
        self.call.require_staff()
        with self.db.read() as session:
            return store.assessment(session, order_id)

    @handles(SagasForgotten)
    def on_sagas_forgotten(self, told: SagasForgotten) -> None:
        forget_sagas(self.db.session, "orders", told.saga_ids)

    @handles(TransactionsForgotten)
    def on_transactions_forgotten(self, told: TransactionsForgotten) -> None:
        forget_sagas(self.db.session, "transactions", told.saga_ids)

    @handles(PrivacyForgotten)
    def on_privacy_forgotten(self, told: PrivacyForgotten) -> None:
        forget_sagas(self.db.session, "users", told.saga_ids)

    # --- what the doors share

    def _decide(self, subject: Subject, key: str) -> tuple[Screening, ServiceError | None]:
        """The decision, written down in this transaction, also where it is a refusal: staff wants to see why."""
        session = self.db.session
        serialize(session, subject)
        rules = rulesets.in_effect(session)
        live = rules["live"]
        inputs = features(session, subject, live.content.just_below)
        verdict, shadow = live.judge(inputs)
        shadows = [shadow] if shadow is not None else []
        if (tried := rules.get("shadow")) is not None:
            shadows.append(shadow_of(tried.judge(inputs)[0], tried.version))
        screening = store.keep(session, subject, inputs, verdict, shadows, live.version, key)
        if verdict.decision != "refuse":
            return screening, None
        names = [reason.rule for reason in verdict.reasons]
        return screening, ServiceError("risk.refused", verdict.message, {"reasons": names})

    def _queue(self, subject: Subject, screening: Screening) -> None:
        needed = 2 if subject.amount.amount > self.settings.risk_four_eyes_over_minor else 1
        length = timedelta(seconds=self.settings.risk_review_s)
        reviews.begin(self.db.session, subject, screening, length, needed)


def _order(order_id: str, customer_id: str, email: str, amount: Money, country: str) -> Subject:
    return Subject(kind="order", id=order_id, customer_id=customer_id, email=email, amount=amount, country=country)
