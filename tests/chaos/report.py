"""A run's report, in Markdown."""

from __future__ import annotations

import platform
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.chaos import verdict

if TYPE_CHECKING:
    from tests.chaos.__main__ import Facts

RESULTS = Path(__file__).resolve().parent.parent.parent / "bench" / "results"
SHOWN = 20


def write(facts: Facts) -> str:
    wishes = facts.wishes
    broken = [name for name, problems in facts.found.items() if problems]
    command = (
        f"make chaos SECONDS={wishes.seconds:g} SEED={wishes.seed} DB={wishes.database} CUSTOMERS={wishes.customers}"
    )
    machine = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()}"
    lines = [
        f"# Chaos, seed {wishes.seed}: {'**broken**' if broken else 'nothing lost'}",
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}.",
        "Two instances of each service, one gateway, one broker.",
        "",
        *_acts(facts),
        *_orders(facts),
        *_transactions(facts),
        *_sagas(facts),
        *_hub(facts),
        *_checks(facts),
    ]
    return "\n".join(lines) + "\n"


def keep(facts: Facts, text: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"chaos-{facts.wishes.database}-{facts.wishes.seed}.md").write_text(text)


def _acts(facts: Facts) -> list[str]:
    done = [act for act in facts.run.acts if not act.missed]
    what = {
        "kill": "kill -9 of an instance, which the supervisor restarts",
        "stop": "SIGSTOP for longer than the lease, then SIGCONT",
        "broker": "kill -9 of the broker, which the supervisor restarts",
        "company": "kill -9 of a sandbox company",
    }
    counts = Counter(act.kind for act in done)
    hit = Counter(act.unit.rpartition("-")[0] for act in done)
    most = ", ".join(f"{unit} {count}" for unit, count in hit.most_common())
    return [
        "| act | times |",
        "|---|---|",
        *(f"| {text} | {counts[kind]} |" for kind, text in what.items()),
        "",
        f"Who was hit: {most or 'nobody'}. Missed, since the process was not there: {len(facts.run.acts) - len(done)}.",
        "",
    ]


def _orders(facts: Facts) -> list[str]:
    run = facts.run
    statuses = Counter(order["status"] for order in run.books.orders.values())
    causes = Counter(
        saga["cause"]["code"] for saga in run.books.sagas if saga["status"] == "compensated" and saga["cause"]
    )
    troubles = Counter(str(line["status"]) for line in verdict.told(run, "trouble"))
    silent, gave_up = len(verdict.told(run, "silence")), len(verdict.told(run, "gave up"))
    amended = Counter(f"{row['kind']}, {row['status']}" for row in run.books.amendments)
    refused = Counter(str(line["code"]) for line in verdict.told(run, "placed") if not line["order"])
    return [
        "| orders | count |",
        "|---|---|",
        *(f"| {status} | {count} |" for status, count in statuses.most_common()),
        *(f"| turned round with `{code}` | {count} |" for code, count in causes.most_common()),
        *(f"| amended: {what} | {count} |" for what, count in sorted(amended.items())),
        *(f"| not begun, `{code}` | {count} |" for code, count in refused.most_common()),
        "",
        f"Answers that made customers ask again with the same key: {_listed(troubles)}; without an answer: {silent};",
        f"given up: {gave_up}.",
        "",
    ]


def _transactions(facts: Facts) -> list[str]:
    rows = facts.run.money.transactions.values()
    ends = Counter(f"{row['kind']}, {row['status']}" for row in rows)
    causes = Counter(row["reason_code"] for row in rows if row["status"] == "rejected")
    asked = Counter(line["key"] for line in verdict.told(facts.run, "moved"))
    entries = len(facts.run.money.entries)
    return [
        "| transactions | count |",
        "|---|---|",
        *(f"| {end} | {count} |" for end, count in sorted(ends.items())),
        *(f"| rejected with `{code}` | {count} |" for code, count in causes.most_common()),
        f"| asked for again, when they had ended | {sum(count > 1 for count in asked.values())} |",
        f"| entries in the ledger | {entries} |",
        "",
    ]


def _sagas(facts: Facts) -> list[str]:
    seconds = verdict.saga_seconds(facts.run)
    if not seconds:
        return ["No saga ended.", ""]

    def at(share: float) -> str:
        return f"{seconds[min(len(seconds) - 1, int(len(seconds) * share))]:.2f} s"

    settled = "not in time" if facts.settled_s is None else f"{facts.settled_s:.1f} s after the customers had left"
    return [
        "| sagas | |",
        "|---|---|",
        f"| ended | {len(seconds)} |",
        f"| p50 | {at(0.5)} |",
        f"| p99 | {at(0.99)} |",
        f"| longest | {seconds[-1]:.2f} s |",
        f"| nothing on its way any more | {settled} |",
        "",
    ]


def _hub(facts: Facts) -> list[str]:
    longest = sorted(facts.pauses.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{service} {seconds * 1000:.0f} ms" for service, seconds in longest)
    return [f"Longest pause of a hub, where no process was stopped: {shown or 'not known'}.", ""]


def _checks(facts: Facts) -> list[str]:
    lines = ["| what has to hold | |", "|---|---|"]
    for name, problems in facts.found.items():
        lines.append(f"| {name} | {f'**no**, {len(problems)} times' if problems else 'yes'} |")
    for name, problems in facts.found.items():
        if problems:
            lines += ["", f"**{name}**:", "", *(f"- {problem}" for problem in problems[:SHOWN])]
            if len(problems) > SHOWN:
                lines.append(f"- and {len(problems) - SHOWN} more")
    return lines


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} times {status}" for status, count in counts.most_common()) or "none"
