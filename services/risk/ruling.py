"""What operators do with the rules and the deny list, and what staff sees of decisions."""

import time
from typing import Literal

from chassis.commands import command
from chassis.context import Call
from chassis.db import WorkerDatabase
from chassis.rpc import rpc
from contracts.risk import (
    Change,
    Checked,
    Denied,
    DenyEntry,
    Draft,
    Id,
    KeptScreening,
    PageSize,
    RuleSet,
    Screening,
    Text,
    Version,
)
from services.risk import rulesets, store
from services.risk.expressions import compiled

EXAMPLES = 20


class Ruling:
    """For RiskService, which inherits it."""

    call: Call
    db: WorkerDatabase

    @rpc
    def rule_set(self, version: Version | None = None) -> RuleSet:
        self.call.require_operator()
        with self.db.read() as session:
            return rulesets.view(session, rulesets.live_version(session) if version is None else version)

    @command
    def draft(self, content: Draft, *, key: str) -> RuleSet:
        self.call.require_operator()
        compiled(content)
        return rulesets.view(self.db.session, rulesets.add(self.db.session, content, self.call.author()))

    @rpc
    def check(self, content: Draft, last: PageSize = 100) -> Checked:
        self.call.require_operator()
        rules = compiled(content)
        with self.db.read() as session:
            kept = store.newest(session, last)
        changed = []
        for row in kept:
            after = rules.judge(row.inputs)[0].decision
            if after != row.decision:
                changed.append(Change(decision_id=row.id, before=row.decision, after=after))
            time.sleep(0)  # let others work between two
        return Checked(compared=len(kept), changed=len(changed), examples=changed[:EXAMPLES])

    @command
    def advance(self, version: Version, state: Literal["shadow", "live", "retired"], *, key: str) -> RuleSet:
        self.call.require_operator()
        rulesets.advance(self.db.session, version, state)
        return rulesets.view(self.db.session, version)

    @rpc
    def denied(self) -> list[DenyEntry]:
        self.call.require_operator()
        with self.db.read() as session:
            return rulesets.denied(session)

    @command
    def deny(self, kind: Denied, value: Id, reason: Text, *, key: str) -> DenyEntry:
        self.call.require_operator()
        return rulesets.deny(self.db.session, kind, value, reason, self.call.author())

    @command(retriable=True)
    def allow(self, kind: Denied, value: Id, *, key: str) -> None:
        self.call.require_operator()
        rulesets.allow(self.db.session, kind, value)

    @rpc
    def screening(self, decision_id: Id) -> KeptScreening:
        self.call.require_staff()
        with self.db.read() as session:
            return store.kept_view(store.get(session, decision_id))

    @rpc
    def screenings(self, subject: Id) -> list[KeptScreening]:
        self.call.require_staff()
        with self.db.read() as session:
            return [store.kept_view(row) for row in store.of_subject(session, subject)]

    @rpc
    def replay(self, decision_id: Id) -> Screening:
        self.call.require_staff()
        with self.db.read() as session:
            row = store.get(session, decision_id)
            rules = rulesets.of_version(session, row.rules_version)
        verdict, _ = rules.judge(row.inputs)
        return Screening(
            id=row.id,
            kind=row.kind,
            subject_id=row.subject_id,
            decision=verdict.decision,
            score=verdict.score,
            reasons=verdict.reasons,
            rules_version=rules.version,
        )
