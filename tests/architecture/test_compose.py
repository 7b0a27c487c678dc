"""docker-compose.yml says the same as the code. No engine runs here, so this is as far as it is tried."""

import re

import pytest
import yaml

from scripts.broker import CONTAINER_IMAGE
from tests.architecture import dockerfile
from tests.architecture.source import ROOT
from tests.architecture.test_extras import MAY_LACK
from tests.contract.services import SERVICES

_VARIABLE = re.compile(r"\$\{(\w+)(?::(-?)([^}]*))?\}")
SANDBOXES = ("acquirer", "carrier", "bank")
BOUGHT = ("rabbitmq", "postgresql")
CONFIG = (ROOT / "config.yaml").read_text()
KNOWN = {name for name, *_ in _VARIABLE.findall(CONFIG)}
"""The variables that config.yaml takes from the environment."""


def read():
    """The file, with the values that its variables have when nobody sets them."""
    text = (ROOT / "docker-compose.yml").read_text()
    found = yaml.safe_load(_VARIABLE.sub(lambda variable: variable[3], text))
    assert isinstance(found, dict)
    return found


COMPOSE = read()
PROGRAMS = COMPOSE["services"]


def test_every_program_is_there_once():
    assert set(PROGRAMS) == {*SERVICES, "gateway", *SANDBOXES, *BOUGHT}


def test_every_variable_has_a_default():
    text = (ROOT / "docker-compose.yml").read_text()
    assert [name for name, dash, _ in _VARIABLE.findall(text) if dash != "-"] == []


@pytest.mark.parametrize("name", [*SERVICES, "gateway", *SANDBOXES])
def test_a_program_is_built_from_its_target(name):
    target = "gateway" if name == "gateway" else "sandbox" if name in SANDBOXES else "service"
    extra = {"EXTRA": f",{MAY_LACK[name]}"} if name in MAY_LACK else {}
    assert PROGRAMS[name]["build"] == {"context": ".", "target": target, "args": {"SERVICE": name, **extra}}
    assert dockerfile.stage(target) != []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_a_database_that_is_created(service):
    uri = PROGRAMS[service]["environment"][f"{service.upper()}_DB"]
    server = PROGRAMS["postgresql"]["environment"]
    login = f"{server['POSTGRES_USER']}:{server['POSTGRES_PASSWORD']}"
    assert uri == f"postgresql+psycopg2://{login}@postgresql/{service}"
    created = re.findall(r"^CREATE DATABASE (\w+);$", (ROOT / "deploy/databases.sql").read_text(), re.MULTILINE)
    assert sorted(created) == sorted(SERVICES)


@pytest.mark.parametrize("name", [*SERVICES, "gateway"])
def test_a_setting_is_one_that_config_yaml_takes(name):
    assert set(PROGRAMS[name]["environment"]) <= KNOWN


@pytest.mark.parametrize("name", [*SERVICES, "gateway"])
def test_a_program_logs_in_at_the_broker(name):
    server = PROGRAMS["rabbitmq"]["environment"]
    login = f"{server['RABBITMQ_DEFAULT_USER']}:{server['RABBITMQ_DEFAULT_PASS']}"
    assert PROGRAMS[name]["environment"]["AMQP_URI"] == f"pyamqp://{login}@rabbitmq:5672/"


@pytest.mark.parametrize(
    ("service", "company"), [("payments", "acquirer"), ("payments", "bank"), ("shipping", "carrier")]
)
def test_a_service_and_its_company_know_each_other(service, company):
    environment, arguments = PROGRAMS[service]["environment"], PROGRAMS[company]["command"]
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert environment[f"{company.upper()}_URL"] == f"http://{company}:{options['--port']}"
    assert environment[f"{company.upper()}_HOOK_SECRET"] == PROGRAMS[company]["environment"]["HOOK_SECRET"]
    assert options["--hook-url"] == f"http://gateway:8000/v1/hooks/{company}"
    assert options["--db"].startswith("var/")


def test_what_is_referred_to_is_declared():
    waited_for = {name for program in PROGRAMS.values() for name in program.get("depends_on", ())}
    mounted = [volume.split(":")[0] for program in PROGRAMS.values() for volume in program.get("volumes", ())]
    assert all("healthcheck" in PROGRAMS[name] for name in waited_for)
    assert {name for name in mounted if not name.startswith("./")} == set(COMPOSE["volumes"])
    assert [name for name in mounted if name.startswith("./") and not (ROOT / name).exists()] == []


def test_nothing_listens_beyond_the_loopback_of_its_host():
    published = [port for program in PROGRAMS.values() for port in program.get("ports", ())]
    assert sorted(published) == [
        "127.0.0.1:15672:15672",
        "127.0.0.1:5672:5672",
        "127.0.0.1:8000:8000",
        "127.0.0.1:8101:8100",
    ]


def test_the_broker_is_the_one_that_make_run_would_take():
    assert PROGRAMS["rabbitmq"]["image"] == CONTAINER_IMAGE


def test_what_is_copied_is_sent_to_the_engine():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {str(source) for target in ("sandbox", "gateway") for source, _ in dockerfile.copies(target, "")}
    copied |= {str(source) for source, _ in dockerfile.copies("service", "SERVICE")}
    packaging = {"pyproject.toml", "requirements.lock", "setup.cfg"}
    assert {name for name in copied if not name.startswith("services/")} | packaging | {"services"} == sent
