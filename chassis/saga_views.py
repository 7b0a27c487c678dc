"""Sagas as operators see them, with secrets masked."""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Row, desc, select
from sqlalchemy.orm import Session

from chassis.masking import masked, masked_text
from chassis.operator_types import Cause, Saga, SagaLine, SagaRef, SagaSignal, SagaStep, SagaSummary
from chassis.saga import Step, Sub, Wait
from chassis.saga_rules import Case
from chassis.tables import saga, saga_log, saga_signal
from chassis.types import service_of

TIMELINE = 500
"""So many of the newest lines of a log are shown."""
CHILDREN = 100


def summary(case: Case, service: str) -> SagaSummary:
    return SagaSummary(**_summary(case, service))


def _summary(case: Case, service: str) -> dict[str, Any]:
    row = case.row
    return dict(
        service=service,
        id=row.id,
        name=row.name,
        version=row.version,
        key=row.key,
        status=row.status,
        phase=case.phase.replace(" ", "_"),
        stage=row.stage,
        ver=row.ver,
        cause=Cause(**{**row.cause, "message": masked_text(row.cause["message"])}) if row.cause else None,
        attention=row.attention and masked_text(row.attention),
        paused_at=row.paused_at,
        deadline=row.deadline,
        wake_at=row.wake_at,
        owner=row.owner,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def dossier(session: Session, case: Case, service: str) -> Saga:
    """All that is known of one saga, masked."""
    row = case.row
    signals = session.execute(select(saga_signal).where(saga_signal.c.saga_id == row.id).order_by(saga_signal.c.at))
    log = select(saga_log).where(saga_log.c.saga_id == row.id).order_by(desc(saga_log.c.seq)).limit(TIMELINE)
    children = select(saga.c.id, saga.c.name, saga.c.status).where(saga.c.parent_id == row.id).limit(CHILDREN)
    return Saga(
        **_summary(case, service),
        trace_id=row.trace_id,
        cancel_reason=row.cancel_reason,
        parent_id=row.parent_id,
        children=[SagaRef(id=each.id, name=each.name, status=each.status) for each in session.execute(children)],
        data=masked(msgspec.json.decode(row.context)),
        steps=_steps(case),
        signals=[SagaSignal(name=each.name, payload=masked(each.payload), at=each.at) for each in signals],
        timeline=[_line(each) for each in reversed(session.execute(log).all())],
        allowed=case.allowed(),
    )


def _line(line: Row[Any]) -> SagaLine:
    return SagaLine(
        at=line.at,
        step=line.step,
        operation=line.operation,
        outcome=line.outcome,
        attempt=line.attempt,
        ms=line.ms,
        service=line.service,
        detail=line.detail and masked_text(line.detail),
        author=line.author,
    )


def _steps(case: Case) -> list[SagaStep]:
    stages = case.definition.stages if case.definition else ()
    return [_step(case, part, number, stage.kind) for number, stage in enumerate(stages) for part in stage.parts()]


def _step(case: Case, part: Step[Any] | Wait[Any] | Sub[Any], stage: int, kind: str) -> SagaStep:
    state, call = case.held.state(part.name), part if isinstance(part, Step) else None
    return SagaStep(
        name=part.name,
        stage=stage,
        kind=kind,
        calls=_method(call.action) if call else None,
        undo=_method(call.undo) if call and call.undo else None,
        outcome=state.outcome,
        attempts=state.attempts,
        undo_outcome=state.undo,
        undo_attempts=state.undo_attempts,
        input=_input(case, call, stage) if call else None,
        output=masked(msgspec.to_builtins(state.result)),
    )


def _input(case: Case, step: Step[Any], stage: int) -> Any:
    """What a step is sent; None if it is left out, or is not reached: what it will be sent may not be known yet."""
    data = case.held.data
    if stage > case.held.stage or (step.when is not None and not step.when(data, case.held.results())):
        return None
    return masked(msgspec.to_builtins(step.arguments(data)))


def _method(method: Callable[..., Any]) -> str:
    return f"{service_of(method)}.{method.__name__}"
