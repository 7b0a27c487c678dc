"""`make ops ARGS="…"`: look at sagas and dead letters, and act on them, over the HTTP API of a running shop.

It signs in as OPERATOR_EMAIL (operator@rialto.example) with OPERATOR_PASSWORD, which it asks for on a terminal. The
shop is the one whose state folder is VAR (var), or RIALTO_URL. Exit code: 0 done, 1 refused (the reason is printed),
2 not understood, 3 the shop or one of its services did not answer, so that nobody knows more.
"""

import argparse
import getpass
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

DONE, REFUSED, MISUSED, SILENT = 0, 1, 2, 3
TIMEOUT_S = 30.0
LOOKS = 5
"""How often the version of a saga is read for one action."""
MARKS = {"ok": "✓", "refused": "✗", "unknown": "?", "undone": "↶", "skipped": "-", "resolved": "!", "made_good": "+"}
MARKS |= {"given_up": "-"}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
EXAMPLES = """
what is wrong, and why:
  make ops ARGS="sagas --stuck"
  make ops ARGS="show 6f1c…"                      one saga: its steps, its timeline, what you may do
  make ops ARGS="show 6f1c… --io"                 with inputs and outputs, secrets masked
  make ops ARGS="dead-letters --service notifications"
  make ops ARGS="audit"
  make ops ARGS="repair"                          compare with the other companies now, mend what is safe

what to do about it (the reason is kept with your name):
  make ops ARGS="retry 6f1c… --reason 'the carrier is back'"
  make ops ARGS="skip-step 6f1c… book_shipment --reason 'the customer fetched it'"
  make ops ARGS="replay notifications 12 --reason 'the template is mended'"

An action is done only if the saga is still as you saw it. It reads the version itself; say --ver to insist on the one
that `show` showed you. Each alarm, and what to do about it: docs/runbook.md.
"""


class Failed(Exception):
    """It was not done. `code` is the exit code, the text is for the terminal; `problem` is the API's code for it."""

    def __init__(self, code: int, text: str, problem: str = "") -> None:
        super().__init__(text)
        self.code, self.problem = code, problem


class Desk:
    """An operator's session with the API."""

    def __init__(self, url: str, email: str, password: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=TIMEOUT_S)
        self.url = url
        tokens = self.call("POST", "/v1/sessions", json={"email": email, "password": password})
        self.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One request; its JSON. Raises Failed with the problem document's sentence."""
        try:
            answer = self.http.request(method, path, **options)
        except httpx.HTTPError as exc:
            raise Failed(SILENT, f"{self.url} does not answer ({type(exc).__name__}). Does the shop run?") from None
        if answer.is_success:
            return answer.json() if answer.content else None
        try:
            problem = answer.json()
            sentence = f"{problem['detail']} ({problem['code']}, trace {problem['trace_id']})"
            sentence += "".join(f"\n  {each['field']}: {each['detail']}" for each in problem.get("errors", ()))
        except (ValueError, KeyError, TypeError):
            problem, sentence = {}, f"{method} {path} answered {answer.status_code}, and not in a way that I know."
        code = SILENT if answer.status_code in (502, 503, 504) else REFUSED
        raise Failed(code, sentence, problem.get("code", ""))


# --- what can be asked


def sagas(desk: Desk, asked: argparse.Namespace) -> Any:
    wishes = dict(
        status=asked.status,
        name=asked.name,
        stuck="true" if asked.stuck else None,
        attention="true" if asked.attention else None,
        older_than_s=asked.older_than,
        text=asked.text,
    )
    return pages(desk, "/v1/sagas", wishes, asked.limit)


def show(desk: Desk, asked: argparse.Namespace) -> Any:
    return desk.call("GET", f"/v1/sagas/{asked.saga}")


def act(desk: Desk, asked: argparse.Namespace) -> Any:
    """With no --ver: at the version of now. A saga that is being tried has another one with each attempt, so that its
    version is read again where it has moved on meanwhile; the rules are looked at anew each time."""
    path = f"/v1/sagas/{asked.saga}"
    body = {"reason": asked.reason} | ({"step": asked.step} if asked.step else {})
    looks = 0
    while True:
        ver, looks = asked.ver or desk.call("GET", path)["ver"], looks + 1
        try:
            return desk.call("POST", f"{path}/{asked.command}", json=body, headers={"If-Match": f'"{ver}"'})
        except Failed as failed:
            if failed.problem != "sagas.stale" or asked.ver or looks == LOOKS:
                raise


def dead_letters(desk: Desk, asked: argparse.Namespace) -> Any:
    wishes = dict(service=asked.service, handler=asked.handler, state=asked.state)
    return pages(desk, "/v1/dead-letters", wishes, asked.limit)


def settle(desk: Desk, asked: argparse.Namespace) -> Any:
    path = f"/v1/dead-letters/{asked.service}/{asked.letter}/{asked.command}"
    return desk.call("POST", path, json={"reason": asked.reason})


def audit(desk: Desk, asked: argparse.Namespace) -> Any:
    return desk.call("GET", "/v1/audit")


def repair(desk: Desk, asked: argparse.Namespace) -> Any:
    return desk.call("POST", "/v1/audit/repair")


def pages(desk: Desk, path: str, wishes: dict[str, Any], limit: int) -> Any:
    """Up to `limit` items, over as many pages as that takes."""
    items: list[Any] = []
    missing: set[str] = set()
    cursor = None
    while len(items) < limit:
        asked = {**wishes, "limit": min(100, limit - len(items)), "cursor": cursor}
        page = desk.call("GET", path, params={name: value for name, value in asked.items() if value is not None})
        items += page["items"]
        missing.update(page["missing"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return {"items": items, "missing": sorted(missing), "more": cursor is not None}


# --- how it is shown


def print_sagas(found: Any, asked: argparse.Namespace) -> None:
    rows = [
        (each["id"], each["name"], each["key"], each["phase"], str(each["ver"]), age(each["created_at"]), state(each))
        for each in found["items"]
    ]
    table(("id", "saga", "key", "phase", "ver", "age", "state"), rows, empty="No saga is like that.")
    footer(found)


def state(saga: Any) -> str:
    """The most that one line can say of how a saga is."""
    if saga["paused_at"]:
        return f"paused for {age(saga['paused_at'])}"
    if saga["attention"]:
        return f"needs attention: {saga['attention']}"
    if saga["cause"]:
        return f"{saga['status']}: {saga['cause']['code']}"
    return str(saga["status"])


def print_saga(saga: Any, asked: argparse.Namespace) -> None:
    print(f"{saga['name']} v{saga['version']}  {saga['id']}  of {saga['service']}, key {saga['key']}")
    more = state(saga)
    shown = [saga["status"], saga["phase"], f"stage {saga['stage']}", f"version {saga['ver']}"]
    print(f"  {', '.join(shown)}{'' if more == saga['status'] else f'; {more}'}")
    print(f"  begun {moment(saga['created_at'])}, last commit {moment(saga['updated_at'])}, deadline "
          f"{moment(saga['deadline'])}")  # fmt: skip
    if saga["phase"] != "ended":
        driver = f"driven by {saga['owner'][:8]} until" if saga["owner"] else "nobody drives it; due"
        print(f"  {driver} {moment(saga['wake_at'])}")
    if saga["cause"]:
        print(f"  cause: {saga['cause']['step']}: {saga['cause']['code']}: {saga['cause']['message']}")
    if saga["cancel_reason"]:
        print(f"  to be cancelled: {saga['cancel_reason']}")
    for name in ("parent_id", "children", "signals"):
        if saga[name]:
            print(f"  {name}: {json.dumps(saga[name], ensure_ascii=False)}")
    print()
    table(
        ("", "step", "stage", "kind", "calls", "outcome", "tries", "undo", "tries"),
        [
            (
                MARKS.get(each["outcome"], " "),
                each["name"],
                str(each["stage"]),
                each["kind"],
                each["calls"] or "",
                each["outcome"],
                str(each["attempts"] or ""),
                each["undo_outcome"] or ("" if not each["undo"] else "-"),
                str(each["undo_attempts"] or ""),
            )
            for each in saga["steps"]
        ],
        empty="Its steps are not known here: no running instance has this version of it.",
    )
    if asked.io:
        print()
        for each in saga["steps"]:
            print(f"  {each['name']}")
            print(f"    input  {json.dumps(each['input'], ensure_ascii=False)}")
            print(f"    output {json.dumps(each['output'], ensure_ascii=False)}")
    print()
    table(
        ("", "at", "step", "what", "outcome", "try", "ms", "detail"),
        [
            (
                MARKS.get(line["outcome"], "»" if line["operation"] == "operator" else " "),
                line["at"][11:23],
                line["step"],
                line["operation"],
                line["outcome"],
                str(line["attempt"]),
                str(line["ms"]),
                " ".join(filter(None, (line["author"] and f"[{line['author']}]", line["detail"]))),
            )
            for line in saga["timeline"]
        ],
        empty="Nothing of it was logged yet.",
    )
    print(f"\nyou may: {', '.join(saga['allowed']) or 'only look'}")


def print_acted(saga: Any, asked: argparse.Namespace) -> None:
    print(f"done: {asked.command} of {saga['id']}; it is {state(saga)} at version {saga['ver']} now")


def print_letters(found: Any, asked: argparse.Namespace) -> None:
    rows = [
        (each["service"], str(each["id"]), each["handler"], each["event_id"], str(each["attempts"]), age(each["at"]),
         each["error"] if each["state"] == "dead" else f"{each['state']} by {each['author']}: {each['reason']}")
        for each in found["items"]
    ]  # fmt: skip
    table(("service", "id", "handler", "event", "tries", "age", "why"), rows, empty="No letter is like that.")
    footer(found)


def print_settled(letter: Any, asked: argparse.Namespace) -> None:
    print(f"done: letter {letter['id']} of {letter['service']} is {letter['state']}")


def print_audit(found: Any, asked: argparse.Namespace) -> None:
    rows = [
        ("✓" if each["holds"] else "✗", each["name"], "in flight" if each["in_flight"] else "", each["detail"])
        for each in found["checks"]
    ]
    table(("", "check", "", "detail"), rows, empty="Nothing was checked.")
    print("\nthe books agree" if found["holds"] else "\nthe books do NOT agree")
    print_incidents(found)


def print_repaired(found: Any, asked: argparse.Namespace) -> None:
    print_incidents(found)
    if found["unasked"]:
        print(f"Could not be compared: {', '.join(found['unasked'])}.")


def print_incidents(found: Any) -> None:
    rows = [
        (each["state"], each["kind"], each["subject"], each["order_id"] or "", each["first_seen"], each["detail"])
        for each in (*found["incidents"], *found["mended"])
    ]
    table(("state", "kind", "subject", "of", "since", "what differs"), rows, empty="No incident is open.")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Columns as wide as what stands in them; the last one ends where it ends."""
    if not rows:
        print(empty)
        return
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def footer(found: Any) -> None:
    if found["more"]:
        print("There are more: raise --limit, or ask for less.")
    if found["missing"]:
        print(f"No answer from: {', '.join(found['missing'])}. What they have is not in this list.")


def moment(text: str) -> str:
    return f"{text[:10]} {text[11:19]}"


def age(text: str) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()))
    unit = next((unit for unit in ("d", "h", "m") if seconds >= UNITS[unit]), "s")
    return f"{seconds // UNITS[unit]}{unit}"


# --- the command line


def seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,8})([smhd]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time: write 90s, 10m, 2h or 1d")
    return int(found[1]) * UNITS[found[2] or "s"]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="ops",
        description=(__doc__ or "").partition("\n")[2],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--json", action="store_true", help="print what the API answered")
    top.add_argument("--url", help="the shop's address (RIALTO_URL)")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, do: Callable[..., Any], shown: Callable[..., None]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(do=do, shown=shown, step=None)
        return command

    listed = add("sagas", "list sagas, newest first", sagas, print_sagas)
    listed.add_argument("--stuck", action="store_true", help="needs attention, is paused, or is overdue")
    listed.add_argument("--attention", action="store_true", help="needs attention")
    listed.add_argument("--status", choices=("running", "compensating", "completed", "compensated"))
    listed.add_argument("--name", help="of the definition, as place_order")
    listed.add_argument("--older-than", type=seconds, metavar="AGE", help="begun longer ago: 90s, 10m, 2h, 1d")
    listed.add_argument("--text", help="in ids, keys, data (an order's number, an address), causes")
    listed.add_argument("--limit", type=int, default=20)

    one = add("show", "one saga: its steps, its timeline, what you may do", show, print_saga)
    one.add_argument("saga", metavar="ID")
    one.add_argument("--io", action="store_true", help="with each step's input and output, secrets masked")

    for name, text in {
        "retry": "try it again at once, instead of after its back-off",
        "pause": "have nobody drive it until it is resumed; its deadline goes on",
        "resume": "have a paused one go on",
        "skip-step": "leave out a step after the point of no return: it is never done",
        "force-compensate": "turn it round before its point of no return: all is given back",
        "resolve": "take what needs attention as settled by hand",
    }.items():
        action = add(name, text, act, print_acted)
        action.add_argument("saga", metavar="ID")
        if name == "skip-step":
            action.add_argument("step", metavar="STEP")
        if name == "resolve":
            action.add_argument("--step", help="where more than one needs attention")
        action.add_argument("--reason", required=True, help="kept with your name")
        action.add_argument("--ver", type=int, help="only if it is still at this version")

    letters = add("dead-letters", "list events whose handler failed too often", dead_letters, print_letters)
    letters.add_argument("--service")
    letters.add_argument("--handler")
    letters.add_argument("--state", choices=("dead", "replayed", "dropped"), default="dead")
    letters.add_argument("--limit", type=int, default=20)
    for name, text in {
        "replay": "have an event handled now, once",
        "drop": "give an event up: it is never handled",
    }.items():
        letter = add(name, text, settle, print_settled)
        letter.add_argument("service", metavar="SERVICE")
        letter.add_argument("letter", metavar="ID")
        letter.add_argument("--reason", required=True, help="kept with your name")

    add("audit", "do stock, money and sagas agree? Exit code 1 if not", audit, print_audit)
    add("repair", "compare the books with the other companies' now, and mend what is safe", repair, print_repaired)
    return top


def where(url: str | None) -> str:
    """The shop's address: as told, or of the system that runs on VAR."""
    if told := url or os.environ.get("RIALTO_URL"):
        return told.rstrip("/")
    port = os.environ.get("PORT")
    env = Path(os.environ.get("VAR") or "var") / "env"
    if not port and env.exists():
        exported = dict(word.split("=", 1) for word in shlex.split(env.read_text()) if "=" in word)
        port = exported.get("PORT")
    return f"http://127.0.0.1:{port or 8000}"


def password() -> str:
    if told := os.environ.get("OPERATOR_PASSWORD"):
        return told
    if sys.stdin.isatty():
        return getpass.getpass("operator's password: ")
    raise Failed(MISUSED, "OPERATOR_PASSWORD is not set: `make run` printed it at its first start.")


def main(argv: Sequence[str]) -> int:
    asked = parser().parse_args(argv)
    try:
        desk = Desk(where(asked.url), os.environ.get("OPERATOR_EMAIL") or "operator@rialto.example", password())
        answer = asked.do(desk, asked)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return failed.code
    if asked.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        asked.shown(answer, asked)
    return REFUSED if asked.command == "audit" and not answer["holds"] else DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
