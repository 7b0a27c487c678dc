"""setup.cfg says for each program what it needs: no more is installed in its image, and no less is imported there."""

import re
import sys
from configparser import ConfigParser
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.architecture import dockerfile
from tests.architecture.source import ROOT, imports_of, top
from tests.contract.services import SERVICES

PROGRAMS = [
    *(("service", service) for service in SERVICES),
    ("gateway", "gateway"),
    ("sandbox", "acquirer"),
    ("sandbox", "carrier"),
    ("sandbox", "bank"),
]
NOT_IMPORTED = {"setuptools"}  # nameko's command line does
BEGUN_BY_NAME = ("chassis.migrate", "chassis.migrations.env", "chassis.logs")
"""Modules that a service needs though none imports them: its entry point, Alembic and config.yaml name them."""

MAY_LACK = {"support": "meaning"}
"""A program -> the extra whose packages it imports, and can do without."""


@cache
def declared():
    """Name -> the distributions that setup.cfg lists under it; "" is what everything needs."""
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    extras = dict(parser["options.extras_require"].items())
    return {name: _names(text) for name, text in {"": parser["options"]["install_requires"], **extras}.items()}


def _names(requirements):
    lines = [line for line in requirements.splitlines() if line and not line.startswith("#")]
    return {_normal(re.match(r"[\w.-]+", line)[0]) for line in lines}


def _normal(distribution):
    return re.sub(r"[-_.]+", "-", distribution).lower()


def modules_of(target, service):
    """Dotted name -> path, of every module that a program's image holds."""
    paths = set()
    for source, _ in dockerfile.copies(target, service):
        here = ROOT / source
        paths |= set(here.rglob("*.py")) if here.is_dir() else {here} if here.suffix == ".py" else set()
    relative = sorted(path.relative_to(ROOT) for path in paths)
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in relative}


def imported(target, service):
    """What is imported from outside by the modules of a program that it can come to: the chassis holds more."""
    modules = modules_of(target, service)
    begin = {"service": f"services.{service}", "gateway": "gateway", "sandbox": f"sandbox.{service}"}[target]
    waiting = [name for name in modules if name == begin or name.startswith(begin + ".")]
    waiting += [name for name in BEGUN_BY_NAME if target == "service"] + ["chassis.logs"] * (target == "gateway")
    reached, outside = set(), set()
    while waiting:
        name = waiting.pop()
        if name in modules and name not in reached:
            reached.add(name)
            found = imports_of(modules[name])
            waiting += found
            outside |= top(found)
    ours = top(modules)
    return {name for name in outside - ours if name not in sys.stdlib_module_names}


@cache
def distributions():
    return {module: {_normal(name) for name in names} for module, names in packages_distributions().items()}


@pytest.mark.parametrize(("target", "service"), PROGRAMS)
def test_what_a_program_imports_is_declared_for_it(target, service):
    installed = declared()[""] | declared()[service] | declared().get(MAY_LACK.get(service), set())
    undeclared = {name for name in imported(target, service) if not distributions().get(name, set()) & installed}
    assert undeclared == set()


@pytest.mark.parametrize(("target", "service"), PROGRAMS)
def test_what_is_declared_for_a_program_alone_is_imported_by_it(target, service):
    used = {name for module in imported(target, service) for name in distributions().get(module, ())}
    assert declared()[service] - used == set()


def test_what_is_declared_for_everything_is_imported_somewhere():
    modules = {module for program in PROGRAMS for module in imported(*program)}
    used = {name for module in modules for name in distributions().get(module, ())}
    assert declared()[""] - used - NOT_IMPORTED == set()


def test_each_service_has_an_extra_and_a_folder():
    folders = {path.name for path in (ROOT / "services").iterdir() if (path / "service.py").exists()}
    assert folders == set(SERVICES)
    assert folders | {"gateway", "acquirer", "carrier", "bank"} <= set(declared())


@pytest.mark.parametrize(("target", "service"), PROGRAMS)
def test_everything_that_an_image_copies_is_there(target, service):
    assert [source for source, _ in dockerfile.copies(target, service) if not Path(ROOT, source).exists()] == []
