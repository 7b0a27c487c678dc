"""What is odd about what was heard and seen, in plain words. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from contracts.registry import Finding, Severity
from services.registry.domain import RPC, Census, Known, QueueState, Sight

STEADY_S = 10.0
"""For so long instances and consumers have to differ, with nobody coming or going, to be a finding."""
DECLARED_S = 5.0
"""So long after it was first heard an instance has declared its queues."""
MUCH = 10
"""By how many messages a queue has to grow to be a finding."""


@dataclass(frozen=True)
class Sample:
    """The broker at one moment of the registry's clock. `up` and `there`: how many instances of each service said that
    they take messages, and how many may do so, suspects among them."""

    at: float
    sight: Sight
    up: Mapping[str, int]
    there: Mapping[str, int]


@dataclass(frozen=True)
class Scene:
    """All that findings are made from. `contracts`: for each service the fingerprint of its contract and the names of
    its methods. `samples` are the latest, the oldest first, over at least `growing_s`."""

    census: Census
    contracts: Mapping[str, tuple[str, frozenset[str]]]
    samples: Sequence[Sample]
    at: float
    growing_s: float


def findings(scene: Scene) -> list[Finding]:
    """Every check's, the gravest first."""
    order: list[Severity] = ["error", "warning", "info"]
    found = [finding for check in CHECKS for finding in check(scene)]
    return sorted(found, key=lambda each: (order.index(each.severity), each.service, each.code))


def nobody_there(scene: Scene) -> Iterator[Finding]:
    sight = _latest(scene)
    if sight is None:
        return  # too early: who is there may not have been heard yet
    for service in scene.contracts:
        if _alive(scene, service):
            continue
        readers = _consumers(sight, service)
        if not readers:
            said = f"{service} has no instance: whoever needs it answers 503."
            yield _finding("error", "no_instance", service, said)
        elif service in scene.census.spoke and not scene.census.preserving:
            said = f"No instance of {service} is heard of, though {readers} read its queue: do they hang?"
            yield _finding("error", "no_instance", service, said)


def fallen_silent(scene: Scene) -> Iterator[Finding]:
    if scene.census.preserving:
        yield _finding(
            "error",
            "hears_little",
            "",
            "Most instances fell silent at once: rather the registry does not hear them. Nobody is taken for gone.",
        )
    for known in scene.census.instances.values():
        if known.suspect:
            said = f"{_named(known)} has not been heard of for {scene.at - known.heard:.0f} s."
            yield _finding("warning", "suspect", known.told.service, said)


def differ(scene: Scene) -> Iterator[Finding]:
    """Instances of one service that are not alike."""
    for service in sorted({known.told.service for known in scene.census.alive()}):
        alive = _alive(scene, service)
        names = [frozenset(each.name for each in known.told.methods) for known in alive]
        if any(one and other and not one & other for one in names for other in names):
            said = f"Two services that have no method in common call themselves {service}: rename one of them."
            yield _finding("error", "name_clash", service, said)
        contracts = sorted({known.told.contract for known in alive})
        if len(contracts) > 1:
            said = f"{service} has instances with {len(contracts)} contracts at work: {', '.join(contracts)}."
            yield _finding("warning", "contracts_differ", service, said)
        if len({known.told.settings_digest for known in alive}) > 1:
            yield _finding("info", "settings_differ", service, f"Instances of {service} have different settings.")


def promises(scene: Scene) -> Iterator[Finding]:
    """R and R_register: what contracts declare, and what running instances announced."""
    for service, (contract, methods) in scene.contracts.items():
        alive = _alive(scene, service)
        if not alive:
            continue
        announced = {each.name for known in alive for each in known.told.methods}
        if missing := sorted(methods - announced):
            said = f"{service} promises {', '.join(missing)}, which none of its instances has."
            yield _finding("error", "not_registered", service, said)
        if more := sorted(announced - methods):
            said = f"Instances of {service} have {', '.join(more)}, which the registry's contract does not know."
            yield _finding("warning", "not_declared", service, said)
        others = {known.told.contract for known in alive} - {contract}
        if others and not missing and not more:
            said = f"{service} promises something else than the registry knows: one of both is older."
            yield _finding("info", "contract_unknown", service, said)


def readers(scene: Scene) -> Iterator[Finding]:
    """More consumers than instances, or fewer, for as long as the broker's figures may lag behind."""
    recent = [sample for sample in scene.samples if scene.at - sample.at <= STEADY_S]
    seen = recent and all(sample.sight.source != "none" for sample in recent)
    if not seen or scene.at - scene.samples[0].at < STEADY_S:
        return
    serving = {known.told.service for known in scene.census.alive() if known.told.methods}
    for service in sorted(serving | scene.census.spoke):
        if scene.at - scene.census.changed_at.get(service, scene.census.begun) < STEADY_S:
            continue
        more = min(_consumers(sample.sight, service) - sample.there.get(service, 0) for sample in recent)
        fewer = min(sample.up.get(service, 0) - _consumers(sample.sight, service) for sample in recent)
        if more > 0:
            said = f"{more} more read the queue of {service} than announce themselves: "
            said += "strangers of that name, or instances that hang?"
            yield _finding("warning", "unannounced", service, said)
        if fewer > 0 and service in serving:
            said = f"{fewer} of the instances of {service} do not read its queue, though they say that they are up."
            yield _finding("error", "deaf", service, said)


def queues(scene: Scene) -> Iterator[Finding]:
    """Queues that grow, and consumers that are stuck, all the time of `growing_s`."""
    if not scene.samples or scene.samples[-1].at - scene.samples[0].at < scene.growing_s:
        return
    for name in sorted(scene.samples[-1].sight.queues):
        past = [sample.sight.queues.get(name) for sample in scene.samples]
        seen = [each for each in past if each is not None]
        if len(seen) < len(past) or not name.startswith((RPC, "evt-")):
            continue
        if all(one.ready <= other.ready for one, other in pairwise(seen)) and (seen[-1].ready - seen[0].ready >= MUCH):
            said = f"{name} grew from {seen[0].ready} to {seen[-1].ready} messages in {scene.growing_s:.0f} s."
            yield _finding("warning", "queue_grows", _service_of(name), said)
        if _is_stuck(seen):
            said = (
                f"The consumers of {name} have acknowledged nothing for {scene.growing_s:.0f} s, with messages there."
            )
            yield _finding("error", "consumer_stuck", _service_of(name), said)


def _is_stuck(seen: Sequence[QueueState]) -> bool:
    held = all(each.consumers and each.unacked for each in seen)
    return held and seen[0].acked is not None and seen[0].acked == seen[-1].acked


def bindings(scene: Scene) -> Iterator[Finding]:
    """What the broker forgot: an instance that declared it gets no messages by it any more."""
    sight = _latest(scene)
    if sight is None or sight.bindings is None:
        return
    seen_at = scene.samples[-1].at
    wanted = {
        (known.told.service, binding)
        for known in scene.census.alive()
        if known.state == "up" and seen_at - known.since > DECLARED_S
        for binding in known.told.bindings
    }
    for service, binding in sorted(wanted, key=lambda each: (each[0], each[1].queue)):
        if binding not in sight.bindings:
            said = f"The broker has no binding of {binding.queue} to {binding.exchange} by {binding.key}: "
            said += f"start an instance of {service} anew, which declares it."
            yield _finding("error", "binding_lost", service, said)


CHECKS: tuple[Callable[[Scene], Iterator[Finding]], ...] = (
    nobody_there,
    fallen_silent,
    differ,
    promises,
    readers,
    queues,
    bindings,
)


def _finding(severity: Severity, code: str, service: str, text: str) -> Finding:
    return Finding(severity=severity, code=code, service=service, text=text)


def _alive(scene: Scene, service: str) -> list[Known]:
    return [known for known in scene.census.of(service) if not known.suspect]


def _latest(scene: Scene) -> Sight | None:
    """What was seen of the broker last; None if it has not been seen yet, or does not answer."""
    sight = scene.samples[-1].sight if scene.samples else None
    return None if sight is None or sight.source == "none" else sight


def _named(known: Known) -> str:
    return f"{known.told.service} {known.told.id} ({known.told.host}, process {known.told.pid})"


def _consumers(sight: Sight, service: str) -> int:
    queue = sight.queues.get(RPC + service)
    return queue.consumers if queue else 0


def _service_of(queue: str) -> str:
    """`rpc-orders` and `evt-shipping-shipment_moved--orders.on_shipment_moved` are both of orders."""
    return queue.removeprefix(RPC) if queue.startswith(RPC) else queue.rpartition("--")[2].partition(".")[0]
