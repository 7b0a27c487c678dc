"""The shop's own services with everything taken out that makes an order safe, to see what that costs.

The same processes make the same calls, in the same order, and run the same rules and statements on their own tables.
What is taken out is in sagas.py:LEFT_OUT. `python -m bench.bare` is `make run` with these services (SQLite only).
"""

from datetime import timedelta
from importlib import import_module
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from chassis import commands, db, outbox, saga_engine, saga_store
from chassis.db import now
from chassis.saga import COMPENSATING, COMPLETED, Saga
from chassis.saga_rounds import Rounds, learned
from chassis.saga_store import Change, Held
from scripts import plan, up
from scripts.supervisor import Rank, Unit


class BareRounds(Rounds):
    """Rounds whose progress is in memory alone. The hooks at the end still write the order's row."""

    def _advance(self, definition: Saga[Any], held: Held, entries: Any, data: Any = None, deadline: Any = None) -> bool:
        held.data = data or learned(definition.stages[held.stage], held) or held.data
        following = self._following(definition, held, data)
        if following == len(definition.stages):
            return self._end(definition, held, COMPLETED, definition.on_completed, entries, data)
        held.stage = following
        return True

    def _turn_round(
        self, definition: Saga[Any], held: Held, step: str, code: str, message: str, entries: Any = None
    ) -> bool:
        held.status, held.cause = COMPENSATING, {"step": step, "code": code, "message": message}
        with self.sessions.write() as session:
            definition.on_compensating(session, self.run_of(held))
        return True


def _create(
    session: Session, definition: Saga[Any], key: str, data: Any, owner: str, lease: timedelta, *_: Any
) -> Held:
    at = now(session)
    return Held(
        id=key,
        name=definition.name,
        version=definition.version,
        key=key,
        status="running",
        stage=0,
        data=data,
        trace_id=key,
        steps={},
        cause=None,
        cancel_reason=None,
        deadline=at + timedelta(seconds=definition.deadline_s),
        attention=None,
        parent_id=None,
        ver=1,
        at=at,
    )


def _change(session: Session, held: Held, what: Change) -> bool:
    for name, value in what.values.items():
        if hasattr(held, name):
            setattr(held, name, value)
    return True


def _new_engine(uri: str, pool_size: int) -> Engine:
    engine = _safe_engine(uri, pool_size)
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    return engine


_safe_engine = db.new_engine
_TAKEN_OUT: dict[Any, dict[str, Any]] = {
    db: {"new_engine": _new_engine},
    commands: {
        "claim": lambda *_: True,
        "store_result": lambda *_: None,
        "store_refusal": lambda *_: None,
        "_store_refusal": lambda *_, **__: None,
        "_move": lambda *_: True,
    },
    outbox: {"publish": lambda *_: None},
    saga_engine: {"Rounds": BareRounds},
    saga_store: {
        "create": _create,
        "change": _change,
        "due": lambda *_: [],
        "note_unknown": lambda *_: 0,
    },
}


def __getattr__(name: str) -> Any:
    """`nameko run bench.bare:OrdersService` finds the class here, made from the chassis without what is taken out."""
    if not name.endswith("Service"):
        raise AttributeError(name)
    for module, replacements in _TAKEN_OUT.items():
        for attribute, replacement in replacements.items():
            if not hasattr(module, attribute):
                raise ImportError(f"{module.__name__} has no {attribute} any more that could be taken out")
            setattr(module, attribute, replacement)
    return getattr(import_module(f"services.{name.removesuffix('Service').lower()}.service"), name)


def _bare(name: str, number: int, env: Any) -> Unit:
    return plan.nameko(name, f"bench.bare:{name.capitalize()}Service", number, Rank.SERVICE, env)


if __name__ == "__main__":
    plan.service = _bare
    up.main()
