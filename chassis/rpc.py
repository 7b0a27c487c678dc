"""RPC with deadlines, on nameko's wire format: any stock nameko client or service can take either side.

    result           what the method returned, decoded to the type in its contract
    refusal          ServiceError with a code that the contract lists
    unknown          OutcomeUnknown: time ran out, a crash, a bug; Unavailable if it was certainly never sent

Every call has a deadline, which travels with it and shrinks on its way; a server drops what is past it.
"""

import functools
import random
import time
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Generic, ParamSpec, TypeVar, cast, get_type_hints
from weakref import WeakValueDictionary

import eventlet
import msgspec
import nameko.rpc
from eventlet.event import Event
from nameko.constants import HEADER_PREFIX
from nameko.exceptions import UnserializableValueError, serialize
from nameko.extensions import DependencyProvider, SharedExtension

from chassis.amqp import Presence, Publisher, QueueConsumer, SafeHeaders
from chassis.arguments import typed
from chassis.context import caller_data
from chassis.errors import Failure, OutcomeUnknown, ServiceError, Unavailable
from chassis.types import Caller, refusals_of, service_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

RPC_TIMEOUT_S = 5.0
ATTEMPTS = 3
ATTEMPT_PAUSE_S = (0.02, 0.1)
BREAKER_FAILURES, BREAKER_OPEN_S = 8, 2.0

_encode = msgspec.json.Encoder().encode


# --- the serving side


class RpcConsumer(nameko.rpc.RpcConsumer):
    """nameko's, with replies that go out over the process's one publishing connection."""

    queue_consumer = QueueConsumer()
    publisher = Publisher()
    _by_method: Mapping[str, Any] = {}

    def get_provider_for_method(self, routing_key: str) -> Any:
        method = routing_key.rpartition(".")[2]
        if len(self._by_method) != len(self._providers):
            self._by_method = {provider.method_name: provider for provider in self._providers}
        return self._by_method.get(method) or super().get_provider_for_method(routing_key)

    def handle_result(self, message: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        try:
            error = None if exc_info is None else _describe(exc_info[1])
            body = _encode({"result": result, "error": error})
        except Exception as exc:  # whatever a method may return: it must not end the container
            exc_info = (type(exc), exc, exc.__traceback__)
            body = _encode({"result": None, "error": serialize(UnserializableValueError(result))})
        reply_to = message.properties.get("reply_to")
        if reply_to:
            exchange = nameko.rpc.get_rpc_exchange(self.container.config).name
            try:
                self.publisher.publish(
                    exchange, reply_to, body, correlation_id=message.properties.get("correlation_id", "")
                )
            except Unavailable:
                pass  # the caller's deadline tells it; a command's repeat finds its stored answer
        self.queue_consumer.ack_message(message)
        return result, exc_info


def _describe(exc: BaseException) -> dict[str, Any]:
    described: dict[str, Any] = serialize(exc)
    if isinstance(exc, ServiceError):
        described["exc_args"] = [exc.code, exc.message, exc.details]
    return described


class Rpc(SafeHeaders, nameko.rpc.Rpc):
    """nameko's entry point, which drops a request whose deadline has passed: its caller no longer waits."""

    rpc_consumer = RpcConsumer()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(expected_exceptions=(ServiceError,), **kwargs)

    def handle_message(self, body: Any, message: Any) -> None:
        deadline = message.headers.get(f"{HEADER_PREFIX}.deadline")
        if isinstance(deadline, int) and time.time() * 1000 > deadline:
            self.rpc_consumer.queue_consumer.ack_message(message)
            return
        super().handle_message(body, message)

    def check_signature(self, args: Any, kwargs: Any) -> None:
        """The names are left to `typed`, which every method of ours has: nameko's inspects the method each time."""
        if not (isinstance(args, list) and isinstance(kwargs, dict)):
            raise ServiceError("request.invalid", "The arguments are a list `args` and an object `kwargs`.")


_entrypoint = Rpc.decorator


def rpc(fn: Callable[P, R]) -> Callable[P, R]:
    """Serve a method over RPC, its arguments converted to the types of its signature."""
    return cast(Callable[P, R], _entrypoint(typed(fn)))


# --- the calling side


class ReplyListener(nameko.rpc.ReplyListener):
    """nameko's, with reply slots that can be given up, and that go with the last one who could wait for them.

    A reply that is lost with its connection is an unknown outcome like any other, so none is acknowledged.
    """

    queue_consumer = QueueConsumer()
    at_once = True

    def __init__(self) -> None:
        super().__init__()
        self._reply_events: MutableMapping[str, Event] = WeakValueDictionary()

    def handle_message(self, body: Any, message: Any) -> None:
        event = self._reply_events.pop(message.properties.get("correlation_id"), None)
        if event is not None:
            event.send(body)

    def give_up(self, correlation_id: str) -> None:
        self._reply_events.pop(correlation_id, None)

    def fail(self, correlation_id: str, exc: Failure) -> None:
        event = self._reply_events.pop(correlation_id, None)
        if event is not None:
            event.send_exception(exc)


class Breaker:
    """After BREAKER_FAILURES time-outs in a row a target is left alone for BREAKER_OPEN_S; then one call tries it."""

    def __init__(self) -> None:
        self.failures = 0
        self.retry_at = 0.0

    def require_closed(self, service: str, timeout_s: float) -> None:
        """Raise Unavailable while the target is left alone. Who passes then is the one that tries it."""
        if self.failures >= BREAKER_FAILURES:
            if time.monotonic() < self.retry_at:
                raise Unavailable(service, "it did not answer lately; it is tried again in a moment")
            self.retry_at = time.monotonic() + timeout_s  # the others wait for what becomes of this call

    def record(self, answered: bool) -> None:
        self.failures = 0 if answered else self.failures + 1
        if self.failures >= BREAKER_FAILURES:
            self.retry_at = time.monotonic() + BREAKER_OPEN_S


class Reply:
    """A request that is under way."""

    def __init__(self, client: "RpcClient", service: str, correlation_id: str, event: Event, give_up_at: float) -> None:
        self.client, self.service, self.correlation_id = client, service, correlation_id
        self.event, self.give_up_at = event, give_up_at
        self.answered = False

    def result(self) -> Any:
        """Wait for the answer, as plain JSON values. Raises ServiceError or OutcomeUnknown."""
        breaker = self.client.breaker(self.service)
        body = None
        try:
            with eventlet.Timeout(max(0.0, self.give_up_at - time.time()), False):
                body = self.event.wait()
        finally:
            self.client.replies.give_up(self.correlation_id)
        self.answered = body is not None
        breaker.record(answered=self.answered)
        if body is None:
            raise OutcomeUnknown(self.service, "it did not answer in time")
        if body.get("error"):
            raise self._failure(body["error"])
        return body.get("result")

    def _failure(self, error: dict[str, Any]) -> Failure:
        if error.get("exc_type") == "ServiceError" and len(error.get("exc_args", ())) == 3:
            return ServiceError(*error["exc_args"])
        if error.get("exc_type") in ("Unavailable", "OutcomeUnknown") and len(error.get("exc_args", ())) == 3:
            # Unavailable to the service that we asked, which may have done something before: to us it is unknown.
            return OutcomeUnknown(self.service, str(error.get("value")), error["exc_args"][2])
        return OutcomeUnknown(self.service, f"it failed: {error.get('exc_type')}")


class RpcClient(SharedExtension):
    """Calls any nameko service by name. What `remote` is made of; sagas use it directly."""

    publisher = Publisher()
    replies = ReplyListener()
    presence = Presence()

    def __init__(self) -> None:
        super().__init__()
        self._breakers: dict[str, Breaker] = {}

    def setup(self) -> None:
        self.exchange = nameko.rpc.get_rpc_exchange(self.container.config).name
        self.timeout_s = self.container.config.get("rpc_timeout_ms", RPC_TIMEOUT_S * 1000) / 1000
        self.publisher.on_return = lambda correlation_id: self.replies.fail(
            correlation_id, Unavailable("broker", "no such service has ever run")
        )

    def breaker(self, service: str) -> Breaker:
        return self._breakers.setdefault(service, Breaker())

    def send(
        self,
        service: str,
        method: str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        context: dict[str, Any] | None = None,
    ) -> Reply:
        """Send a request; `Reply.result()` waits for its answer. Raises Unavailable if nobody would take it."""
        context = dict(context or {})
        now = time.time()
        give_up_at = now + (self.timeout_s if timeout_s is None else timeout_s)
        if context.get("deadline") is not None:
            give_up_at = min(give_up_at, context["deadline"] / 1000)
        if give_up_at <= now:
            raise Unavailable(service, "no time was left to ask it")
        self.presence.require(service, give_up_at - now)
        self.breaker(service).require_closed(service, give_up_at - now)
        context["deadline"] = int(give_up_at * 1000)
        correlation_id = uuid.uuid4().hex
        event = self.replies.get_reply_event(correlation_id)
        try:
            self.publisher.publish(
                self.exchange,
                f"{service}.{method}",
                _encode({"args": args, "kwargs": kwargs or {}}),
                mandatory=True,
                timeout_s=max(0.0, give_up_at - time.time()),
                correlation_id=correlation_id,
                reply_to=self.replies.routing_key,
                expiration=str(max(1, int((give_up_at - time.time()) * 1000))),
                application_headers={
                    f"{HEADER_PREFIX}.{name}": value for name, value in context.items() if value is not None
                },
            )
        except Unavailable:
            self.replies.give_up(correlation_id)
            raise
        return Reply(self, service, correlation_id, event, give_up_at)

    def call(self, service: str, method: str, kwargs: dict[str, Any], **options: Any) -> Any:
        """`send` once, and the answer as plain JSON values."""
        return self.send(service, method, (), kwargs, **options).result()


class Pending(Generic[R]):
    """A typed reply that is under way. Unknown outcomes that came before the time was up are tried again."""

    def __init__(self, bound: "BoundMethod", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._bound, self._args, self._kwargs = bound, args, kwargs
        self._reply = bound.send(args, kwargs)

    def result(self) -> R:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return cast(R, self._bound.result_of(self._reply))
            except OutcomeUnknown:
                if attempt == ATTEMPTS or time.time() >= self._reply.give_up_at:
                    raise
            eventlet.sleep(random.uniform(*ATTEMPT_PAUSE_S) * attempt)
            self._reply = self._bound.send(self._args, self._kwargs)
        raise AssertionError("unreachable")


class BoundMethod:
    """A contract's method at its service, called for the call that is being served."""

    def __init__(self, client: RpcClient, method: Callable[..., Any], worker_ctx: Any, tuning: dict[str, Any]) -> None:
        self.client, self.method, self.worker_ctx, self.tuning = client, method, worker_ctx, tuning
        self.service = service_of(method)

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reply:
        context = {**self.worker_ctx.context_data, **self.tuning.get("context", {})}
        timeout_s = self.tuning.get("timeout_s")
        return self.client.send(self.service, self.method.__name__, args, kwargs, timeout_s=timeout_s, context=context)

    def result_of(self, reply: Reply) -> Any:
        """The reply as the contract has it. What the contract does not know is an unknown outcome."""
        try:
            return msgspec.convert(reply.result(), result_type_of(self.method))
        except ServiceError as exc:
            if is_refusal(self.method, exc):
                raise
            raise OutcomeUnknown(self.service, f"refused, which its contract does not list: {exc}") from exc
        except msgspec.ValidationError as exc:
            raise OutcomeUnknown(self.service, f"answered what its contract does not say: {exc}") from exc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return Pending[Any](self, args, kwargs).result()


@functools.cache
def result_type_of(method: Callable[..., Any]) -> Any:
    """What the contract says that a method returns."""
    return get_type_hints(method, include_extras=True)["return"]


@functools.cache
def _methods_of(contract: type) -> dict[str, Callable[..., Any]]:
    return {name: method for name, method in vars(contract).items() if hasattr(method, "__service__")}


class Proxy:
    """What a worker sees of another service: the methods of its contract, and no others."""

    def __init__(self, client: RpcClient, contract: type, worker_ctx: Any, **tuning: Any) -> None:
        self._client, self._contract, self._worker_ctx, self._tuning = client, contract, worker_ctx, tuning

    def __getattr__(self, name: str) -> BoundMethod:
        try:
            method = _methods_of(self._contract)[name]
        except KeyError:
            raise AttributeError(f"{self._contract.__name__} has no method {name}") from None
        return BoundMethod(self._client, method, self._worker_ctx, self._tuning)

    def tuned(self, caller: Caller | None, timeout_s: float | None) -> "Proxy":
        tuning = dict(self._tuning)
        if caller is not None:
            tuning["context"] = {"caller": caller_data(caller)}
        if timeout_s is not None:
            tuning["timeout_s"] = timeout_s
        return Proxy(self._client, self._contract, self._worker_ctx, **tuning)


class Remote(DependencyProvider):
    """See `remote`."""

    client = RpcClient()

    def __init__(self, contract: type) -> None:
        super().__init__()
        self.contract = contract

    def get_dependency(self, worker_ctx: Any) -> Proxy:
        return Proxy(self.client, self.contract, worker_ctx)


def remote(contract: type[T]) -> T:
    """Another service, by its contract: a dependency of the same type, for mypy and for the reader.

    Raises ServiceError for a refusal, OutcomeUnknown or Unavailable otherwise.
    """
    return cast(T, Remote(contract))


class Remotes(DependencyProvider):
    """Several services, by their names. Worker attribute: a mapping of what `remote` gives of each."""

    client = RpcClient()

    def __init__(self, contracts: Mapping[str, type]) -> None:
        super().__init__()
        self.contracts = contracts

    def get_dependency(self, worker_ctx: Any) -> Mapping[str, Proxy]:
        return {name: Proxy(self.client, contract, worker_ctx) for name, contract in self.contracts.items()}


def tuned(service: T, *, caller: Caller | None = None, timeout_s: float | None = None) -> T:
    """The same service, called on behalf of another caller, or with another limit of time."""
    return cast(T, cast(Proxy, service).tuned(caller, timeout_s))


def call_async(method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Pending[R]:
    """Send a call now and wait for it later, by `.result()`: for calls that do not need one another."""
    return Pending[R](cast(BoundMethod, method), args, kwargs)


def is_refusal(method: Callable[..., Any], exc: BaseException) -> bool:
    """Whether the contract lets this method refuse so. A code that is not listed counts as an unknown outcome."""
    return isinstance(exc, ServiceError) and exc.code in refusals_of(method)
