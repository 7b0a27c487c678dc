"""Where figures go: bench/results/, with the machine that they were measured on."""

import platform
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.system import ROOT

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}."


def write(title: str, lines: list[str], name: str = "") -> None:
    """Write a page; its name is the time, after `name`."""
    at = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}{at:%Y-%m-%d-%H%M}.md"
    path.write_text("\n".join([f"# {title}{at:%Y-%m-%d %H:%M} UTC", "", *lines]) + "\n")
    print(f"\nwritten to {path.relative_to(ROOT)}")
