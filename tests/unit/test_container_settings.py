"""A service's own settings stand above the general ones; what cannot be meant is refused with a sentence."""

import re

import msgspec
import pytest
import yaml
from nameko.exceptions import ConfigurationError

from chassis.amqp import drain_s_of, prefetch_of
from chassis.announcing import Pace
from chassis.container import OWN, Container, settings_of
from chassis.settings import read_settings
from gateway import GatewayService
from services.registry.service import RegistrySettings, Watch
from tests.conftest import ROOT
from tests.contract.services import SERVICES

GENERAL = {
    "AMQP_URI": "memory://",
    "max_workers": 20,
    "prefetch": None,
    "drain_ms": 20000,
    "fast": True,
    "ratio": 0.5,
    "rates": {},
    "name": "x",
}


class UsersService:
    name = "users"


def said(**own):
    return {**GENERAL, OWN: {"users": own}}


def read():
    """config.yaml as `nameko run` reads it, with the environment of now."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert isinstance(config, dict)
    return config


# --- above the general ones


def test_without_settings_of_its_own_a_service_has_the_general_ones():
    for config in (GENERAL, {**GENERAL, OWN: None}, {**GENERAL, OWN: {"orders": {"max_workers": 3}}}, said()):
        settings = settings_of("users", config)
        assert {name: settings[name] for name in GENERAL} == GENERAL


def test_its_own_settings_stand_above_the_general_ones():
    settings = settings_of("users", said(max_workers=4, rates={"NL": 210}, ratio=1))
    assert (settings["max_workers"], settings["rates"], settings["ratio"]) == (4, {"NL": 210}, 1)
    assert settings["drain_ms"] == 20000


def test_an_empty_one_means_the_general_one():
    assert settings_of("users", said(max_workers=None))["max_workers"] == 20
    assert settings_of("users", {**GENERAL, OWN: {"users": None}})["max_workers"] == 20


def test_an_instance_lives_by_its_services_settings():
    container = Container(UsersService, said(max_workers=4, drain_ms=500))
    assert (container.max_workers, container.config["max_workers"]) == (4, 4)
    assert drain_s_of(container) == 0.5


def test_it_holds_as_many_messages_as_it_has_workers_unless_it_says_otherwise():
    assert prefetch_of(Container(UsersService, said(max_workers=4))) == 4
    assert prefetch_of(Container(UsersService, said(max_workers=4, prefetch=7))) == 7
    assert prefetch_of(Container(UsersService, {**said(max_workers=4), "prefetch": 9})) == 9


# --- refused


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        (
            {"max_worker": 4},
            "config.yaml: services.users.max_worker is no setting that stands at the top level too: is it misspelt?",
        ),
        ({"max_workers": "many"}, "config.yaml: services.users.max_workers is 'many'; it has to be like 20."),
        ({"max_workers": True}, "config.yaml: services.users.max_workers is True; it has to be like 20."),
        ({"fast": 1}, "config.yaml: services.users.fast is 1; it has to be like True."),
        ({"ratio": "half"}, "config.yaml: services.users.ratio is 'half'; it has to be like 0.5."),
        ({"rates": [1]}, "config.yaml: services.users.rates is [1]; it has to be like {}."),
        ({"name": 5}, "config.yaml: services.users.name is 5; it has to be like 'x'."),
        (
            {"max_workers": 0},
            "config.yaml, as users reads it: max_workers is 0; it has to be a whole number from 1 to 1000.",
        ),
        (
            {"max_workers": 1001},
            "config.yaml, as users reads it: max_workers is 1001; it has to be a whole number from 1 to 1000.",
        ),
        (
            {"max_workers": 2.5},
            "config.yaml, as users reads it: max_workers is 2.5; it has to be a whole number from 1 to 1000.",
        ),
        (
            {"prefetch": "all"},
            "config.yaml, as users reads it: prefetch is 'all'; it has to be a whole number from 1 to 1000.",
        ),
        (
            {"drain_ms": -1},
            "config.yaml, as users reads it: drain_ms is -1; it has to be a whole number from 0 to 3600000.",
        ),
        (
            {"services": {}},
            "config.yaml: services.users.services has no meaning: services is for all services at once.",
        ),
        (
            {"DB_URIS": {"users:Base": "sqlite://"}},
            "config.yaml: services.users.DB_URIS has no meaning: DB_URIS is for all services at once.",
        ),
    ],
    ids=str,
)
def test_what_it_cannot_mean_is_refused(own, sentence):
    with pytest.raises(ConfigurationError) as refused:
        Container(UsersService, said(**own))
    assert str(refused.value) == sentence


@pytest.mark.parametrize("value", [0, "many", 1001, 2.5, True])
def test_a_general_one_that_it_cannot_mean_is_refused_too(value):
    with pytest.raises(ConfigurationError, match=re.escape(f"max_workers is {value!r}; it has to be a whole number")):
        settings_of("users", {**GENERAL, "max_workers": value})


@pytest.mark.parametrize("section", [["max_workers"], 5, "fast"])
def test_a_section_that_is_no_table_is_refused(section):
    with pytest.raises(ConfigurationError, match=r"services\.users is .*; it has to be a table of settings\."):
        settings_of("users", {**GENERAL, OWN: {"users": section}})


def test_sections_that_are_no_table_are_refused():
    with pytest.raises(ConfigurationError, match="it has to be a table of settings"):
        settings_of("users", {**GENERAL, OWN: ["users"]})


@pytest.mark.parametrize("value", [0, 49, 3_600_001, "often", None])
def test_an_impossible_pace_of_announcements_is_refused(value):
    container = Container(UsersService, {**GENERAL, "announce_every_ms": value})
    with pytest.raises(ConfigurationError, match=r"config\.yaml, as users reads it: .*announce_every_ms"):
        read_settings(container, Pace)


# --- config.yaml


def test_config_yaml_is_right_for_every_service_as_it_is():
    config = read()
    for service in (*SERVICES, "gateway"):
        settings = settings_of(service, config)
        assert (settings["max_workers"], settings["prefetch"], settings["drain_ms"]) == (20, None, 20000)


def test_each_service_has_its_own_workers_and_prefetch_and_no_other_is_named():
    own = read()[OWN]
    assert set(own) == {*SERVICES, GatewayService.name}
    assert {name: set(section) for name, section in own.items()} == {name: {"max_workers", "prefetch"} for name in own}


@pytest.mark.parametrize("service", [*SERVICES, "gateway"])
def test_the_environment_sets_them_for_one_service_alone(service, monkeypatch):
    monkeypatch.setenv(f"{service.upper()}_MAX_WORKERS", "3")
    monkeypatch.setenv(f"{service.upper()}_PREFETCH", "5")
    config = read()
    found = {name: settings_of(name, config) for name in (*SERVICES, "gateway")}
    assert [name for name, each in found.items() if each["max_workers"] == 3 and each["prefetch"] == 5] == [service]
    assert {each["max_workers"] for name, each in found.items() if name != service} == {20}


def test_the_environment_sets_them_for_all_and_again_for_one(monkeypatch):
    monkeypatch.setenv("MAX_WORKERS", "6")
    monkeypatch.setenv("PREFETCH", "7")
    monkeypatch.setenv("USERS_MAX_WORKERS", "2")
    monkeypatch.setenv("ORDERS_MAX_WORKERS", "")  # as compose files have it: not said
    config = read()
    found = {name: settings_of(name, config) for name in ("users", "orders", "carts")}
    assert {name: (each["max_workers"], each["prefetch"]) for name, each in found.items()} == {
        "users": (2, 7),
        "orders": (6, 7),
        "carts": (6, 7),
    }


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("0", "config.yaml, as users reads it: max_workers is 0; it has to be a whole number from 1 to 1000."),
        ("many", "config.yaml: services.users.max_workers is 'many'; it has to be like 20."),
        ("1001", "config.yaml, as users reads it: max_workers is 1001; it has to be a whole number from 1 to 1000."),
    ],
)
def test_a_wrong_one_of_the_environment_is_refused_for_that_service(value, sentence, monkeypatch):
    monkeypatch.setenv("USERS_MAX_WORKERS", value)
    config = read()
    with pytest.raises(ConfigurationError) as refused:
        settings_of("users", config)
    assert str(refused.value) == sentence
    assert settings_of("orders", config)["max_workers"] == 20


def test_each_service_has_a_database_and_no_other_is_named():
    assert sorted(read()["DB_URIS"]) == sorted(f"{service}:Base" for service in SERVICES)


# --- the registry's own


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("registry_look_s", 0),
        ("registry_broker_s", 0),
        ("registry_suspect_beats", 0),
        ("registry_gone_beats", "many"),
        ("registry_growing_s", 0),
        ("registry_keep_s", 0),
        ("management_timeout_ms", 0),
    ],
)
def test_a_setting_of_the_registry_that_it_cannot_mean_is_refused(setting, value):
    with pytest.raises(msgspec.ValidationError, match=setting):
        msgspec.convert({**read(), setting: value}, RegistrySettings, strict=False)


def watch(**more):
    return Watch(msgspec.convert({**read(), **more}, RegistrySettings, strict=False), "pyamqp://127.0.0.1/")


def test_one_cannot_be_gone_before_it_is_suspect():
    with pytest.raises(ValueError, match="registry_gone_beats has to be more than registry_suspect_beats"):
        watch(registry_gone_beats=3)


@pytest.mark.parametrize("uri", ["broker:15672", "ftp://broker", "http://", "http://user:open-sesame@[broker:15672"])
def test_an_address_of_the_management_api_that_is_none_is_refused_without_its_password(uri):
    with pytest.raises(ValueError, match="management_uri has to be") as refused:
        watch(management_uri=uri)
    assert "open-sesame" not in str(refused.value)


def test_samples_of_the_broker_reach_back_as_long_as_a_queue_may_grow():
    for growing_s, broker_s in ((30, 2), (30, 0.1), (1, 5)):
        kept = watch(registry_growing_s=growing_s, registry_broker_s=broker_s).samples.maxlen
        assert kept is not None
        assert (kept - 1) * broker_s >= growing_s
