"""The acquirer's statement beside our movements."""

from msgspec import structs

from chassis.db import WorkerDatabase
from contracts.payments import Difference, Reconciliation
from services.payments import books, disputes
from services.payments.adapters import AcquirerClient, StatementLine

LISTED = 100
PAGE, MOST = 1000, 100_000
LOST = "dispute_lost"


def reconcile(db: WorkerDatabase, acquirer: AcquirerClient) -> Reconciliation:
    """Ours are read before the statement, so that what it lacks is truly missing there; and once more if it has what
    we did not know then, for that may have become known meanwhile."""
    ours = _ours(db)
    theirs, whole = _statement(acquirer)
    if any(_differs(line, ours) for line in theirs.values()):
        ours = {name: own for name, own in _ours(db).items() if name in ours or name in theirs}
    complete = whole and len(ours) < MOST
    differences = [
        _difference(line, ours.get(name))
        for name, line in theirs.items()
        if _differs(line, ours) and (complete or name in ours) and not _let_go(line, ours, theirs)
    ]
    if complete:
        differences += [
            Difference(key=key, kind=kind, ours=own.amount, theirs=None, order_id=own.order_id, since=own.at)
            for (kind, key), own in ours.items()
            if (kind, key) not in theirs
        ]
    return Reconciliation(
        compared=len(theirs), count=len(differences), differences=differences[:LISTED], complete=complete
    )


def _ours(db: WorkerDatabase) -> dict[tuple[str, str], books.Known]:
    with db.read() as session:
        return books.known(session, MOST) | disputes.known(session, MOST)


def _statement(acquirer: AcquirerClient) -> tuple[dict[tuple[str, str], StatementLine], bool]:
    """The first MOST lines by kind and key, and whether those are all; a lost dispute, which moves nothing more, counts
    as one."""
    lines: dict[tuple[str, str], StatementLine] = {}
    after: int | None = 0
    while after is not None and len(lines) < MOST:
        page = acquirer.statement(after, PAGE)
        lines.update({(line.kind, line.key): line for line in page.items})
        lost = [line for line in page.items if line.outcome == "lost"]
        lines.update(
            {(LOST, line.key): structs.replace(line, kind=LOST, at=line.decided_at or line.at) for line in lost}
        )
        after = page.next
    return lines, after is None


def _difference(line: StatementLine, own: books.Known | None) -> Difference:
    return Difference(
        key=line.key,
        kind=line.kind,
        ours=own.amount if own else None,
        theirs=line.amount,
        order_id=own.order_id if own else line.reference or None,
        since=line.at,
    )


def _let_go(
    line: StatementLine, ours: dict[tuple[str, str], books.Known], theirs: dict[tuple[str, str], StatementLine]
) -> bool:
    """Whether it was set aside there and let go again, and nobody here counts on it: so `void_unowned` leaves it."""
    both = [("authorize", line.key), ("void", line.key)]
    return (line.kind, line.key) in both and all(name in theirs and name not in ours for name in both)


def _differs(line: StatementLine, ours: dict[tuple[str, str], books.Known]) -> bool:
    own = ours.get((line.kind, line.key))
    return own is None or own.amount != line.amount
