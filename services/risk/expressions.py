"""Conditions in CEL: compiled and type-checked once for each version of the rules, then evaluated on features.

CEL has no loops but its macros (all, exists, map, filter), which nest; they are not let in, and so an evaluation costs
at most what the condition is long. No text of a rule is ever run as Python.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from cel_expr_python import cel

from chassis.errors import ServiceError
from contracts.risk import Draft, Reason, Rule, Shadow
from services.risk.domain import FEATURES, Verdict, decide

FUNCTIONS = frozenset({"size", "startsWith", "endsWith", "contains", "matches", "int", "double", "string", "in"})
"""What a condition may call."""
FAILED = "The condition could not be evaluated, so somebody has to look: "

_TYPES = {int: cel.Type.INT, str: cel.Type.STRING, bool: cel.Type.BOOL}
_environment = cel.NewEnv(variables={name: _TYPES[kind] for name, kind in FEATURES.items()})
_NEUTRAL = {name: kind() for name, kind in FEATURES.items()}
_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_NAME = re.compile(r"[A-Za-z_]\w*")
_HIDING = re.compile(r"[\\`\r\n]|//|'''|\"\"\"")
"""What could hide a call from the look at the text: escapes, comments, quotes of three."""


@dataclass(frozen=True)
class _Compiled:
    rule: Rule
    condition: Any
    names: tuple[str, ...]


@dataclass(frozen=True)
class Compiled:
    """A rule set that was checked. `judge` is a pure function of the features."""

    version: int
    content: Draft
    rules: tuple[_Compiled, ...]

    def judge(self, features: Mapping[str, Any]) -> tuple[Verdict, Shadow | None]:
        """The verdict of the rules, and what it would be if those that are in shadow counted."""
        bound = _environment.Activation({**_NEUTRAL, **features})
        asked = (_fired(each, bound, features) for each in self.rules)
        fired = [pair for pair in asked if pair is not None]
        verdict = decide([pair for pair in fired if not pair[0].shadow], self.content)
        if not any(rule.shadow for rule, _ in fired):
            return verdict, None
        return verdict, shadow_of(decide(fired, self.content), self.version)


def shadow_of(verdict: Verdict, version: int) -> Shadow:
    return Shadow(decision=verdict.decision, score=verdict.score, reasons=verdict.reasons, version=version)


def compiled(content: Draft, version: int = 0) -> Compiled:
    """Check and compile a rule set. Refuses with `risk.bad_rule`, naming the rule."""
    names = [rule.name for rule in content.rules]
    for name in names:
        if names.count(name) > 1:
            raise _bad(name, "another rule has the same name")
    rules = (_compile(rule) for rule in content.rules)
    return Compiled(version, content, tuple(each for each in rules if each.rule.enabled))


def _compile(rule: Rule) -> _Compiled:
    bare = _TEXT.sub("''", rule.condition)
    if _HIDING.search(rule.condition):
        raise _bad(rule.name, "a condition is one line, without backslashes, comments and quotes of three")
    called = set(_CALL.findall(bare)) - FUNCTIONS
    if called:
        raise _bad(rule.name, f"not to be called: {', '.join(sorted(called))}")
    try:
        condition = _environment.compile(rule.condition)
    except RuntimeError as exc:
        raise _bad(rule.name, str(exc).splitlines()[0]) from exc
    if condition.return_type() != cel.Type.BOOL:
        raise _bad(rule.name, f"a condition is true or false, not {condition.return_type().name()}")
    named = sorted(set(_NAME.findall(bare)) & FEATURES.keys())
    return _Compiled(rule, condition, tuple(named))


def _bad(name: str, why: str) -> ServiceError:
    return ServiceError("risk.bad_rule", f"Rule {name}: {why}.", {"rule": name})


def _fired(each: _Compiled, bound: Any, features: Mapping[str, Any]) -> tuple[Rule, Reason] | None:
    """A rule as it takes effect, and what is said of it. One that fails asks for a review, whatever its action."""
    outcome, rule = each.condition.eval(bound), each.rule
    values = {name: features.get(name, _NEUTRAL[name]) for name in each.names}
    if outcome.type() == cel.Type.ERROR:
        failed = msgspec.structs.replace(rule, score=0, action="review")
        return failed, Reason(rule=rule.name, text=f"{FAILED}{outcome.value()}", score=0, values=values)
    if not outcome.value():
        return None
    return rule, Reason(rule=rule.name, text=rule.text, score=rule.score, values=values)
