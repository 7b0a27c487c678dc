"""The Dockerfile, as far as tests need it: what is copied into a target, and what is started there."""

import json
import re
import shutil
from pathlib import Path

from tests.architecture.source import ROOT

_STAGE = re.compile(r"FROM (\S+) AS (\S+)")


def stage(target):
    """The instructions of a target alone, in order, each as (name, rest)."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found, current = [], None
    for line in lines:
        if named := _STAGE.fullmatch(line):
            current = named[2]
        elif current == target:
            instruction, _, rest = line.partition(" ")
            found.append((instruction, rest))
    return found


def copies(target, service):
    """(source, destination) of each file or folder that a target gets, as paths within the project and the image."""
    found = []
    for instruction, rest in stage(target):
        if instruction == "COPY" and not rest.startswith("--from="):
            *sources, destination = rest.replace("$SERVICE", service).split()
            into_folder = destination.endswith("/")
            found += [
                (Path(source), Path(destination) / Path(source).name if into_folder else Path(destination))
                for source in sources
            ]
    return found


def command(target, arguments=None):
    """What a container of a target runs; `arguments` in the place of those in the Dockerfile."""
    told = {name: json.loads(rest) for name, rest in stage(target) if name in ("ENTRYPOINT", "CMD")}
    return [*told.get("ENTRYPOINT", ()), *(arguments or told.get("CMD", ()))]


def build(target, service, folder):
    """Make `folder` what the image of a service holds of the project, and the empty var/ beside it."""
    (folder / "var").mkdir(parents=True)
    for source, destination in copies(target, service):
        (folder / destination).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / destination, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / destination)
