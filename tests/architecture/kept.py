"""What the services' kinds say is kept about customers, as the table of docs/privacy.md.

`scripts/python -m tests.architecture.kept` writes it there anew for a change that is meant.
"""

import eventlet

eventlet.monkey_patch()  # before anything else is imported

import re  # noqa: E402
from collections.abc import Iterable, Iterator  # noqa: E402

import yaml  # noqa: E402
from nameko.cli.main import setup_yaml_parser  # noqa: E402

from chassis.privacy import Kind  # noqa: E402
from tests.architecture.source import ROOT  # noqa: E402
from tests.contract.services import SERVICES, service_class  # noqa: E402

DOCUMENT = ROOT / "docs" / "privacy.md"
HEAD = ("| service | kind | told | an erasure | days |", "|---|---|---|---|---|")
TABLE = re.compile(re.escape("\n".join(HEAD)) + r"\n(?:\|.*\|\n)*")


def kinds_of(service: str) -> tuple[Kind, ...]:
    return tuple(getattr(service_class(service), "kinds", ()))


def table() -> str:
    days = yaml.safe_load((ROOT / "config.yaml").read_text())["retention_days"]
    rows = [
        (service, kind.name, _names(kind.told), _effect(kind), str(days.get(service, {}).get(kind.name, "")))
        for service, kind in _all_kinds()
    ]
    return "\n".join((*HEAD, *(f"| {' | '.join(row)} |" for row in rows))) + "\n"


def _all_kinds() -> Iterator[tuple[str, Kind]]:
    for service in SERVICES:
        for kind in kinds_of(service):
            yield service, kind


def _effect(kind: Kind) -> str:
    if kind.blank is None:
        return "removes it"
    return f"blanks {_names(kind.blank)}" if kind.blank else "leaves it"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    setup_yaml_parser()  # ${ENV:default} in config.yaml, as `nameko run` reads it
    DOCUMENT.write_text(TABLE.sub(lambda _: table(), DOCUMENT.read_text()))
