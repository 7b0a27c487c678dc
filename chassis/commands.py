"""Commands, and the barrier that makes each happen once, whatever is lost, repeated or late.

A command is a method that changes something. It carries a key, and its inbox row tells what became of it:

    arrives  row                      what happens
    action   none                     local: the effect, row `ok`; refused: both undone, then row `failed`
                                      outside: row `started`, the call, then the verdict; unknown leaves `started`
    action   ok, failed               the stored answer (other input: command.key_reused)
    action   started                  the outside call again with the same key, then the verdict
    action   undoing, undone, fenced  refused saga.fenced, whatever its input
    undo     none                     row `fenced`: nothing to undo, and a late action is refused
    undo     ok                       local: undone, row `undone`; outside: row `undoing`, the outside undo, `undone`
    undo     started                  row `undoing` (the action's verdict then loses), and as above
    undo     undoing                  the outside undo again
    undo     failed, undone, fenced   nothing

A command whose method is a generator is an outside one. What stands before its one `yield` is committed with
`started`; what it yields is called with no transaction open; what follows is committed with the verdict. The part
before the yield runs again with the same key after an unknown outcome, so it finds before it makes.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable, Generator
from typing import Any, ParamSpec, Protocol, TypeVar, get_type_hints, overload

import msgspec
from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.orm import Session

from chassis.context import current_call
from chassis.db import WorkerDatabase, insert_new, now, run
from chassis.errors import OutcomeUnknown, ServiceError
from chassis.rpc import rpc
from chassis.tables import inbox

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
Outside = Generator[Callable[[], A], A, R]
"""What an outside command returns: it yields the call to the other company and is sent that call's answer."""

KEY_LENGTH = 300
_encode = msgspec.json.Encoder(order="deterministic").encode

_OF = inbox.c.key == bindparam("of")
_FIND = select(inbox).where(_OF)
_FORGET = delete(inbox).where(_OF, inbox.c.state == bindparam("before"))
_MOVE = (
    update(inbox)
    .where(_OF, inbox.c.state == bindparam("before"))
    .values(state=bindparam("after"), updated_at=bindparam("at"))
)
_STORE_REFUSAL = update(inbox).where(_OF).values(state="failed")
_STORE_RESULT = update(inbox).where(_OF).values(result=bindparam("answer"), updated_at=bindparam("at"))


class HasDatabase(Protocol):
    db: WorkerDatabase


@overload
def command(fn: Callable[P, Outside[Any, R]]) -> Callable[P, R]: ...
@overload
def command(fn: Callable[P, R]) -> Callable[P, R]: ...
@overload
def command(*, retriable: bool, beside: tuple[str, ...] = ...) -> Callable[[Callable[P, Any]], Callable[P, Any]]: ...
def command(fn: Callable[..., Any] | None = None, *, retriable: bool = False, beside: tuple[str, ...] = ()) -> Any:
    """Serve a method over RPC as an action behind the barrier. Its keyword `key` says which one it is.

    Inside a local command `self.db.session` is the open write transaction. A refusal is a ServiceError; it is stored,
    unless `retriable`: then the same key may succeed later. What a retriable outside command refuses before its call
    has to be so whatever an earlier call of the same key still does: it goes by the business row. `auth.forbidden`
    leaves nothing behind: nobody may use up another's key. `beside` names arguments that make no other input of it: one
    that a method gets later, so that what was begun before is still the same.
    """
    if fn is None:
        return functools.partial(command, retriable=retriable, beside=beside)
    fn.__beside__ = beside  # type: ignore[attr-defined]
    outside = inspect.isgeneratorfunction(fn)
    run = _outside_action if outside else _local_action
    result_type = _result_type(fn, outside)

    @functools.wraps(fn)
    def act(self: HasDatabase, **arguments: Any) -> Any:
        return run(self, fn, arguments, result_type, retriable)

    return rpc(act)


@overload
def undo(fn: Callable[P, Outside[Any, None]]) -> Callable[P, None]: ...
@overload
def undo(fn: Callable[P, None]) -> Callable[P, None]: ...
def undo(fn: Callable[..., Any]) -> Any:
    """Serve a method over RPC as the undo of an action: it gets the action's input and key, never its result.

    Repeating it changes nothing, and so does undoing what never happened; a late action is refused from then on. So
    only other services may.
    """
    run = _outside_undo if inspect.isgeneratorfunction(fn) else _local_undo

    @functools.wraps(fn)
    def take_back(self: HasDatabase, **arguments: Any) -> None:
        if call := current_call():
            call.require_trusted()
        run(self, fn, arguments)

    return rpc(take_back)


# --- actions


class _Undone(Exception):
    """Takes a refusal out of a transaction, and so undoes what that one wrote: cheaper than a savepoint for each."""

    def __init__(self, refusal: ServiceError) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def _or_undone(effect: Callable[[], R]) -> R:
    try:
        return effect()
    except ServiceError as exc:
        raise _Undone(exc) from exc


def _local_action(
    self: HasDatabase, fn: Callable[..., Any], arguments: dict[str, Any], result_type: Any, retriable: bool
) -> Any:
    key = arguments["key"]
    try:
        with self.db.write() as session:
            if not claim(session, key, fn.__name__, _input_of(fn, arguments), "ok"):
                return answer(session, key, fn.__name__, _input_of(fn, arguments), result_type)
            result = _or_undone(functools.partial(fn, self, **arguments))
            store_result(session, key, result)
            return result
    except _Undone as undone:
        refusal = undone.refusal
    if retriable:
        raise refusal
    return _refuse(self, fn, refusal, arguments, result_type)


def _refuse(
    self: HasDatabase, fn: Callable[..., Any], refusal: ServiceError, arguments: dict[str, Any], result_type: Any
) -> Any:
    """Keep a refusal and raise it. What another call wrote under this key since the effect was undone comes first."""
    if refusal.code == "auth.forbidden":
        raise refusal
    key = arguments["key"]
    with self.db.write() as session:
        if not claim(session, key, fn.__name__, _input_of(fn, arguments), "failed"):
            return answer(session, key, fn.__name__, _input_of(fn, arguments), result_type)
        store_refusal(session, key, refusal)
    raise refusal


def _outside_action(
    self: HasDatabase, fn: Callable[..., Any], arguments: dict[str, Any], result_type: Any, retriable: bool
) -> Any:
    key = arguments["key"]
    refusal: ServiceError | None = None
    parts = fn(self, **arguments)
    try:
        with self.db.write() as session:
            first = claim(session, key, fn.__name__, _input_of(fn, arguments), "started")
            if not first:
                row = find(session, key)
                _require_same(row, fn.__name__, _input_of(fn, arguments))
                if row.state != "started":
                    return answer(session, key, fn.__name__, _input_of(fn, arguments), result_type)
            call = _or_undone(functools.partial(next, parts))
    except _Undone as undone:
        refusal = undone.refusal
    if refusal is not None and not first:
        if not retriable:  # what was sent before may have been done: an answer or an undo ends that
            raise OutcomeUnknown("inbox", f"it was begun, and now refuses: {refusal}") from refusal
        if refusal.code != "auth.forbidden":
            with self.db.write() as session:
                _forget(session, key, "started")
    if refusal is not None:
        if retriable:
            raise refusal
        return _refuse(self, fn, refusal, arguments, result_type)
    send: Callable[[], Any]
    try:
        outcome = call()
        send = functools.partial(parts.send, outcome)
    except ServiceError as exc:
        send = functools.partial(parts.throw, exc)
    return _verdict(self, fn, send, arguments, result_type, retriable)


def _verdict(
    self: HasDatabase,
    fn: Callable[..., Any],
    send: Callable[[], Any],
    arguments: dict[str, Any],
    result_type: Any,
    retriable: bool,
) -> Any:
    key = arguments["key"]
    with self.db.write() as session:
        if not _move(session, key, "started", "ok"):  # another one's verdict, or an undo, came first
            return answer(session, key, fn.__name__, _input_of(fn, arguments), result_type)
        try:
            result = _rest_of(send)
        except ServiceError as exc:
            refusal = exc
            _store_refusal(session, key, refusal, retriable)
        else:
            store_result(session, key, result)
            return result
    raise refusal


# --- undos


def _local_undo(self: HasDatabase, fn: Callable[..., Any], arguments: dict[str, Any]) -> None:
    key = arguments["key"]
    with self.db.write() as session:
        if claim(session, key, fn.__name__, _input_of(fn, arguments), "fenced"):
            return
        if _move(session, key, "ok", "undone"):
            fn(self, **arguments)


def _outside_undo(self: HasDatabase, fn: Callable[..., Any], arguments: dict[str, Any]) -> None:
    key = arguments["key"]
    with self.db.write() as session:
        if claim(session, key, fn.__name__, _input_of(fn, arguments), "fenced"):
            return
        begun = _move(session, key, "ok", "undoing") or _move(session, key, "started", "undoing")
        if not begun and find(session, key).state != "undoing":
            return
        parts = fn(self, **arguments)
        call = next(parts)
    outcome = call()
    with self.db.write() as session:
        if _move(session, key, "undoing", "undone"):
            _rest_of(functools.partial(parts.send, outcome))


def _rest_of(send: Callable[[], Any]) -> Any:
    try:
        send()
    except StopIteration as end:
        return end.value
    raise TypeError("an outside command yields exactly once")


# --- the inbox row; also for the commands that cannot be one method, such as placing an order


def claim(session: Session, key: str, command_name: str, command_input: Any, state: str) -> bool:
    """Insert the row of a key, in this transaction; False if there is one (on PostgreSQL after waiting for its end)."""
    if not 0 < len(key) <= KEY_LENGTH or "\x00" in key:
        raise ServiceError("request.invalid", f"A key has 1 to {KEY_LENGTH} characters.", {"field": "key"})
    call, at = current_call(), now(session)
    row = dict(
        key=key,
        command=command_name,
        input_hash=_fingerprint(command_input),
        state=state,
        saga_owner=call.caller.service if call and call.caller else None,
        saga_id=call.saga_id if call else None,
        created_at=at,
        updated_at=at,
    )
    return insert_new(session, inbox, row)


def find(session: Session, key: str) -> Row[Any]:
    """The row of a key. Raises OutcomeUnknown if it is gone, which only the end of its retention can cause."""
    row = run(session, _FIND, of=key).one_or_none()
    if row is None:
        raise OutcomeUnknown("inbox", "the row of this key went away meanwhile")
    return row


def answer(session: Session, key: str, command_name: str, command_input: Any, result_type: Any) -> Any:
    """What was answered to this key before: its result, or its refusal as a ServiceError."""
    row = find(session, key)
    if row.state in ("undoing", "undone", "fenced"):
        raise ServiceError("saga.fenced", "This was taken back; it cannot be done any more under this key.")
    _require_same(row, command_name, command_input)
    if row.state == "failed":
        raise ServiceError(row.code, row.message, row.details)
    if row.state == "started":
        raise OutcomeUnknown("inbox", "its outside call is still under way")
    return msgspec.json.decode(row.result, type=result_type)


def peek(session: Session, key: str, command_name: str, command_input: Any, result_type: Any) -> Any:
    """`answer`, or None for a key that nobody used yet."""
    if run(session, _FIND, of=key).one_or_none() is None:
        return None
    return answer(session, key, command_name, command_input, result_type)


def _require_same(row: Row[Any], command_name: str, command_input: Any) -> None:
    same = row.command == command_name and row.input_hash == _fingerprint(command_input)
    if row.state in ("started", "ok", "failed") and not same:
        raise ServiceError("command.key_reused", "This key was used before with other input: take a new one.")


def store_result(session: Session, key: str, result: Any) -> None:
    """Keep a claimed key's answer, for its repeats."""
    run(session, _STORE_RESULT, of=key, answer=_encode(result).decode(), at=now(session))


def store_refusal(session: Session, key: str, refusal: ServiceError) -> None:
    """Keep a claimed key's refusal, for its repeats. What else this transaction wrote stays."""
    refused = dict(code=refusal.code, message=refusal.message, details=refusal.details, updated_at=now(session))
    run(session, _STORE_REFUSAL, of=key, **refused)


def _store_refusal(session: Session, key: str, refusal: ServiceError, retriable: bool) -> None:
    if refusal.code == "auth.forbidden":
        raise refusal  # out of the transaction
    if retriable:
        _forget(session, key, "ok")
    else:
        store_refusal(session, key, refusal)


def _forget(session: Session, key: str, state: str) -> None:
    """Let the key be used again."""
    run(session, _FORGET, of=key, before=state)


def _move(session: Session, key: str, before: str, after: str) -> bool:
    return run(session, _MOVE, of=key, before=before, after=after, at=now(session)).rowcount == 1


def hash_of(command_input: Any) -> str:
    """The SHA-256 of an input's canonical JSON: two inputs are the same if theirs are."""
    return hashlib.sha256(_encode(command_input)).hexdigest()


def _fingerprint(command_input: Any) -> str:
    """Of the input and of the customer who gives it: another one with the same key gets no stored answer."""
    call = current_call()
    whose = None if call is None or call.is_trusted() or call.caller is None else call.caller.customer_id or ""
    return hash_of([whose, command_input])


def _input_of(fn: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    beside = getattr(fn, "__beside__", ())
    return {name: value for name, value in arguments.items() if name != "key" and name not in beside}


def _result_type(fn: Callable[..., Any], outside: bool) -> Any:
    hint = get_type_hints(fn, include_extras=True)["return"]
    return hint.__args__[2] if outside else hint
