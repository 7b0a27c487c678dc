"""Repair by reconciliation: the books of payments, stock and parcels beside those of the others.

Orders does it, the one service that may ask all three, and that knows which differences a running saga explains. What
is safe to mend is mended; the rest becomes an incident, for somebody to look at. Safe is what nobody can need any more,
done by a command that refuses by itself where that is not so:

    an authorisation that no payment counts on      is voided at the acquirer
    units held by a saga that has given back all    are released by that saga's own undo, once more
    a parcel whose news from the carrier were lost  is refreshed
    a dispute whose news from the acquirer were     is refreshed

A difference that is younger than `repair_settle_s`, or whose order or amendment is being worked at, may be news that
are under way: it does not count.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from logging import getLogger
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from prometheus_client import Counter, Gauge

from chassis import saga_store
from chassis.commands import hash_of
from chassis.context import Call
from chassis.db import WorkerDatabase, now
from chassis.errors import Failure, ServiceError
from chassis.leases import give_back_lease, take_lease
from chassis.periodic import every
from chassis.rpc import rpc, tuned
from chassis.saga import COMPENSATED
from chassis.saga_engine import Sagas
from chassis.types import Caller, Message
from contracts.inventory import InventoryApi
from contracts.orders import Incident, IncidentState, Limit, Repaired
from contracts.payments import PaymentsApi
from contracts.shipping import ShippingApi
from services.orders import incidents
from services.orders.incidents import Finding

LISTED = 100
ALL_OPEN = 10_000
"""So many open reservations inventory shows: with more, its sums cannot be checked."""

DIFFERENCES = Gauge("rialto_reconciliation_differences", "Differences between the books: open incidents", ["kind"])
MENDED = Counter("rialto_reconciliation_mended", "Differences between the books that were mended", ["kind"])

log = getLogger("rialto.repair")

T = TypeVar("T")
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Mend = Callable[[], bool]
"""Mends a difference; answers whether it could. Raises Failure where that is refused or unknown."""


class RepairSettings(Message):
    """See config.yaml."""

    repair_interval_s: Seconds
    repair_settle_s: Annotated[float, msgspec.Meta(ge=0)]
    repair_limit_s: Seconds
    repair_call_timeout_ms: Annotated[int, msgspec.Meta(gt=0)]
    repair_keep_s: Seconds


class Compared(NamedTuple):
    """Findings, some with what mends them; `whole` if there are no others."""

    findings: list[tuple[Finding, Mend | None]]
    whole: bool


class Repairing:
    """For OrdersService, whose attributes these are."""

    call: Call
    db: WorkerDatabase
    sagas: Sagas
    repairs: RepairSettings
    inventory: InventoryApi
    payments: PaymentsApi
    shipping: ShippingApi

    @rpc
    def incidents(self, state: IncidentState = "open", limit: Limit = 100) -> list[Incident]:
        self.call.require_operator()
        with self.db.read() as session:
            return incidents.newest(session, state, limit)

    @rpc
    def repair(self) -> Repaired:
        self.call.require_operator()
        with self._alone():
            return self._repair()

    @every("repair_interval_s")
    def repair_in_turn(self) -> None:
        """One instance does it in each interval; all tell the metric of what it found."""
        length = timedelta(seconds=self.repairs.repair_interval_s * 0.9)
        with self.db.write() as session:
            mine = take_lease(session, "repair_turn", uuid.uuid4().hex, length)
        if mine:
            with contextlib.suppress(ServiceError), self._alone():  # an operator may have it run just now
                self._repair()
        with self.db.read() as session:
            counts = incidents.open_by_kind(session)
        for kind in self._comparisons():
            DIFFERENCES.labels(kind).set(counts.get(kind, 0))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One run at a time. Raises ServiceError `orders.repair_running`."""
        run_id, settings = uuid.uuid4().hex, self.repairs
        length = timedelta(seconds=settings.repair_limit_s + settings.repair_call_timeout_ms / 1000)
        with self.db.write() as session:
            if not take_lease(session, "repair", run_id, length):
                raise ServiceError(
                    "orders.repair_running", "The books are being compared just now.", {"retry_after_s": 5}
                )
        try:
            yield
        finally:
            with self.db.write() as session:
                give_back_lease(session, "repair", run_id)

    def _repair(self) -> Repaired:
        """Compare everything once. What cannot be asked now stays as it was."""
        give_up_at = time.monotonic() + self.repairs.repair_limit_s
        with self.db.read() as session:
            began = now(session)
        unasked = []
        for kind, compare in self._comparisons().items():
            try:
                compared = compare()
            except Failure as exc:
                unasked.append(kind)
                log.warning("books could not be compared", extra={"kind": kind, "reason": str(exc)})
            else:
                self._settle(kind, compared, give_up_at)
        with self.db.write() as session:
            incidents.forget(session, began - timedelta(seconds=self.repairs.repair_keep_s))
        with self.db.read() as session:
            mended = incidents.newest(session, "mended", LISTED, since=began)
            still_open = incidents.newest(session, "open", LISTED)
        return Repaired(at=began, unasked=unasked, mended=mended, incidents=still_open)

    def _settle(self, kind: str, compared: Compared, give_up_at: float) -> None:
        """Mend or note what counts of one comparison."""
        with self.db.read() as session:
            at = now(session)
            lately = at - timedelta(seconds=self.repairs.repair_settle_s)
            old = [(each, mend) for each, mend in compared.findings if each.since is None or each.since <= lately]
            busy = incidents.at_work(session, (each.order_id for each, _ in old if each.order_id), lately)
            in_vain = incidents.mended_before(session, kind) if old else set()
        counted = [(each, mend) for each, mend in old if each.order_id not in busy]
        mended = {
            each.subject
            for each, mend in counted
            if mend and (each.subject, each.detail) not in in_vain and time.monotonic() < give_up_at and _done(mend)
        }
        with self.db.write() as session:
            incidents.record(session, kind, (each for each, _ in counted), mended, at)
            if compared.whole:
                incidents.close_gone(session, kind, {each.subject for each, _ in compared.findings})
        MENDED.labels(kind).inc(len(mended))
        for each, _ in counted:
            done = each.subject in mended
            log.warning("books differed" if done else "books differ", extra={"kind": kind, "subject": each.subject})

    # --- what is compared

    def _comparisons(self) -> Mapping[str, Callable[[], Compared]]:
        """By the kind of the incidents that come of it."""
        return {"payment": self._payments, "stock": self._stock, "parcel": self._parcels}

    def _payments(self) -> Compared:
        payments = self._asked(self.payments)
        found, cards = payments.reconcile(), payments.audit_gift_cards()
        findings: list[tuple[Finding, Mend | None]] = [
            (Finding(subject=f"gift_card {card}", detail="its movements do not add up"), None) for card in cards.broken
        ]
        for each in found.differences:
            detail = f"{_shown(each.ours)} in our books, {_shown(each.theirs)} in the acquirer's"
            finding = Finding(
                subject=f"{each.kind} {each.key}", detail=detail, order_id=each.order_id, since=each.since
            )
            mend = MENDS.get(each.kind) if each.ours is None else None
            findings.append((finding, partial(mend, payments, each.key) if mend else None))
        whole = found.complete and found.count == len(found.differences) and len(cards.broken) < LISTED
        return Compared(findings, whole)

    def _stock(self) -> Compared:
        """Each open reservation is held for an order or amendment that is being worked at."""
        audit = self._asked(self.inventory).audit()
        known = len(audit.open) < ALL_OPEN
        findings: list[tuple[Finding, Mend | None]] = [
            (Finding(subject=f"sku {sku}", detail="its counts do not add up"), None) for sku in audit.broken if known
        ]
        for each in audit.open:
            units = ", ".join(f"{line.quantity} x {line.sku}" for line in each.lines)
            finding = Finding(
                subject=f"reservation {each.order_id}",
                detail=f"{units} held, and no saga needs them",
                order_id=each.order_id,
                since=each.created_at,
            )
            findings.append((finding, partial(self._release, each.order_id)))
        return Compared(findings, known)

    def _parcels(self) -> Compared:
        shipping = self._asked(self.shipping)
        found = shipping.reconcile()
        findings: list[tuple[Finding, Mend | None]] = []
        for each in found.differences:
            detail = f"{each.ours or 'unknown'} in our books, {each.theirs or 'unknown'} in the carrier's"
            finding = Finding(
                subject=f"booking {each.booking_key}",
                detail=detail,
                order_id=each.parcel_id or each.order_id,
                since=each.since,
            )
            late = each.parcel_id if each.behind else None
            findings.append((finding, partial(_refresh, shipping, late) if late else None))
        return Compared(findings, found.complete and found.count == len(found.differences))

    def _release(self, order_id: str) -> bool:
        """Repeat the undo of the saga that held units, if that saga has turned round and ended: it may, any time."""
        with self.db.read() as session:
            saga_id = incidents.saga_id_of(session, order_id)
            saga = saga_store.get(session, saga_id) if saga_id else None
        definition = self.sagas.definitions.get((saga.name, saga.version)) if saga else None
        if saga is None or definition is None or saga.status != COMPENSATED:
            return False
        data = msgspec.json.decode(saga.context, type=definition.data)
        inventory = tuned(self.inventory, caller=Caller(service="orders", saga_id=saga.id))
        held = [step for stage in definition.stages for step in stage.steps if step.undo is InventoryApi.release]
        for step in held:
            inventory.release(**step.arguments(data), key=f"{saga.id}:{step.name}")
        return bool(held)

    def _asked(self, service: T) -> T:
        """A service, asked in our own name, with time for whole books."""
        return tuned(service, caller=Caller(service="orders"), timeout_s=self.repairs.repair_call_timeout_ms / 1000)


def _void(payments: PaymentsApi, authorize_key: str) -> bool:
    payments.void_unowned(authorize_key, key=f"repair:{hash_of(authorize_key)}")
    return True


def _refresh_dispute(payments: PaymentsApi, dispute_id: str) -> bool:
    payments.refresh_dispute(dispute_id)
    return True


MENDS = {
    "authorize": _void,
    "dispute": _refresh_dispute,
    "dispute_won": _refresh_dispute,
    "dispute_lost": _refresh_dispute,
}
"""What mends a movement of the acquirer's that payments does not know, by its kind."""


def _refresh(shipping: ShippingApi, parcel_id: str) -> bool:
    shipping.refresh(parcel_id)
    return True


def _done(mend: Mend) -> bool:
    try:
        return mend()
    except Failure as exc:
        log.warning("a difference could not be mended", extra={"reason": str(exc)})
        return False


def _shown(amount: int | None) -> str:
    return "nothing" if amount is None else str(amount)
