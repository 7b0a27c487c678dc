"""What is told of it all. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chassis.described import described, promised
from contracts.registry import Description, Finding, Instance, Method, Model, Queue, Service, Settings, Target
from services.registry.domain import RPC, Census, Known, QueueState, Sight
from services.registry.findings import Sample

Declared = Mapping[str, tuple[str, frozenset[str]]]


def sample(census: Census, sight: Sight, at: float) -> Sample:
    """What is kept of one look at the broker."""
    up = Counter(known.told.service for known in census.alive() if known.state == "up")
    suspects = Counter(known.told.service for known in census.instances.values() if known.suspect)
    return Sample(at, sight, up, up + suspects)


def services(census: Census, sight: Sight, declared: Declared) -> list[Service]:
    """Every service that is promised, is heard of, or has a queue that somebody reads; in the order of their names."""
    queues = {name.removeprefix(RPC): queue for name, queue in sight.queues.items() if name.startswith(RPC)}
    names = {*declared, *(known.told.service for known in census.instances.values())}
    names |= {name for name, queue in queues.items() if queue.consumers}
    return [_service(name, census.of(name), queues.get(name), name in census.spoke) for name in sorted(names)]


def _service(name: str, known: Sequence[Known], queue: QueueState | None, spoke: bool) -> Service:
    alive = [each for each in known if not each.suspect]
    consumers = queue.consumers if queue else 0
    stranger = consumers > 0 and not spoke
    return Service(
        name=name,
        m=consumers if stranger else len(alive),
        instances=[_instance(each) for each in known],
        methods=_all(tally.name for each in alive for tally in each.told.methods),
        events_out=_all(event for each in alive for event in each.told.events_out),
        events_in=_all(event for each in alive for event in each.told.events_in),
        sagas=_all(saga for each in alive for saga in each.told.sagas),
        queue=Queue(ready=queue.ready, unacked=queue.unacked, consumers=queue.consumers) if queue else Queue(),
        stranger=stranger,
    )


def _all(names: Iterable[str]) -> list[str]:
    return sorted(set(names))


def _instance(known: Known) -> Instance:
    told = known.told
    return Instance(
        id=told.id,
        version=told.version,
        state=known.state,
        host=told.host,
        pid=told.pid,
        started_at=told.started_at,
        seen_at=known.seen_at,
        contract=told.contract,
        settings_digest=told.settings_digest,
        workers=told.workers,
        prefetch=told.prefetch,
        metrics=told.metrics,
    )


def model(found: Sequence[Service], census: Census, declared: Declared) -> Model:
    alive = [known.told for known in census.alive()]
    return Model(
        n=len(found),
        M=sum(service.m for service in found),
        R=sum(len(methods) for _, methods in declared.values()),
        R_register=len({(told.service, each.name) for told in alive for each in told.methods}),
        P=len({saga for told in alive for saga in told.sagas}),
        T=len({command for told in alive for command in told.commands}),
    )


def description(service: Service, api: type | None, alive: Sequence[Known], found: Sequence[Finding]) -> Description:
    """One service in full; of one without a contract here, only what it announced."""
    document = described(api) if api else {"methods": {}, "schemas": {}}
    docs = {name: (method.__doc__ or "").strip() for name, method in promised(api).items()} if api else {}
    names = sorted({*document["methods"], *service.methods})
    return Description(
        service=service,
        methods=[_method(name, document["methods"].get(name, {}), docs.get(name, ""), alive) for name in names],
        schemas=document["schemas"],
        settings=[Settings(instance=known.told.id, settings=known.told.settings) for known in alive],
        findings=[finding for finding in found if finding.service == service.name],
    )


def _method(name: str, promise: Mapping[str, Any], doc: str, alive: Sequence[Known]) -> Method:
    tallies = [tally for known in alive for tally in known.told.methods if tally.name == name]
    calls = sum(tally.ok + tally.refused + tally.failed for tally in tallies)
    arguments = list(promise.get("arguments", ()))
    return Method(
        name=name,
        doc=doc,
        arguments=arguments,
        result=promise.get("result", {}),
        errors=list(promise.get("refuses", ())),
        command=any(argument["name"] == "key" for argument in arguments),
        ok=sum(tally.ok for tally in tallies),
        refused=sum(tally.refused for tally in tallies),
        failed=sum(tally.failed for tally in tallies),
        mean_ms=round(sum(tally.ms for tally in tallies) / calls, 1) if calls else None,
    )


def targets(census: Census) -> list[Target]:
    """Those that are up or draining, and have metrics."""
    alive = [known.told for known in census.alive() if known.told.metrics]
    return [
        Target(
            targets=[told.metrics], labels={"service": told.service, "instance_id": told.id, "version": told.version}
        )
        for told in sorted(alive, key=lambda told: (told.service, told.started_at, told.id))
    ]
