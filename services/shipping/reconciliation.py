"""The carrier's bookings beside our shipments."""

from chassis.db import WorkerDatabase
from contracts.shipping import Difference, Reconciliation
from services.shipping import store
from services.shipping.adapters import Booking, CarrierClient

LISTED = 100
PAGE, MOST = 1000, 100_000


def reconcile(db: WorkerDatabase, carrier: CarrierClient) -> Reconciliation:
    """Ours are read before the carrier's, so that what it lacks is truly missing there; and once more if it has what
    we did not know then, for that may have become known meanwhile."""
    ours = _ours(db)
    theirs, whole = _bookings(carrier)
    if any(_differs(parcel, ours.get(key)) for key, parcel in theirs.items()):
        ours = {key: own for key, own in _ours(db).items() if key in ours or key in theirs}
    complete = whole and len(ours) < MOST
    differences = [
        _difference(parcel, ours.get(key))
        for key, parcel in theirs.items()
        if _differs(parcel, ours.get(key)) and (complete or key in ours)
    ]
    if complete:
        differences += [
            Difference(
                parcel_id=own.parcel_id,
                order_id=own.order_id,
                booking_key=key,
                ours=_state(own.status, own.on_hold),
                theirs=None,
                since=own.since,
            )
            for key, own in ours.items()
            if key not in theirs and own.status not in ("none", "cancelled")
        ]
    return Reconciliation(
        compared=len(theirs), count=len(differences), differences=differences[:LISTED], complete=complete
    )


def _ours(db: WorkerDatabase) -> dict[str, store.Known]:
    with db.read() as session:
        return store.known(session, MOST)


def _bookings(carrier: CarrierClient) -> tuple[dict[str, Booking], bool]:
    """The first MOST bookings by key, and whether those are all."""
    bookings: dict[str, Booking] = {}
    after: int | None = 0
    while after is not None and len(bookings) < MOST:
        page = carrier.bookings(after, PAGE)
        bookings.update({parcel.key: parcel for parcel in page.items})
        after = page.next
    return bookings, after is None


def _difference(parcel: Booking, own: store.Known | None) -> Difference:
    theirs = _state(parcel.status, parcel.on_hold)
    if own is None:
        return Difference(
            parcel_id=None,
            order_id=parcel.reference or None,
            booking_key=parcel.key,
            ours=None,
            theirs=theirs,
            since=parcel.moved_at,
        )
    return Difference(
        parcel_id=own.parcel_id,
        order_id=own.order_id,
        booking_key=parcel.key,
        ours=_state(own.status, own.on_hold),
        theirs=theirs,
        since=max(own.since, parcel.moved_at) if parcel.moved_at else own.since,
        behind=own.sequence < parcel.sequence and "cancelled" not in (own.status, parcel.status),
    )


def _differs(parcel: Booking, own: store.Known | None) -> bool:
    if own is None:
        return parcel.status != "cancelled"  # nobody waits for it
    return (parcel.status, parcel.on_hold) != (own.status, own.on_hold)


def _state(status: str, on_hold: bool) -> str:
    return f"{status}, on hold" if on_hold else status
