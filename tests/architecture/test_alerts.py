"""Alert rules speak of metrics that there are, and each has its section in the runbook."""

import re
from urllib.parse import urlsplit

import prometheus_client
import pytest
import yaml

import chassis.service  # noqa: F401 - registers its metrics, as the next ones do
from chassis.openapi import routes_of
from gateway import GatewayService
from tests.architecture.source import ROOT
from tests.contract.services import SERVICES, service_class

RULES = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"][0]["rules"]
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
_METRIC = re.compile(r"\brialto_\w+")


def metrics():
    """Every name that a sample of ours can have."""
    for service in SERVICES:
        service_class(service)
    families = {family.name for family in prometheus_client.REGISTRY.collect()}
    return families | {f"{name}_total" for name in families}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_watches_metrics_that_there_are(rule):
    named = set(_METRIC.findall(rule["expr"]))
    assert named
    assert named - metrics() == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_section_that_says_what_to_do(rule):
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert f"\n## {rule['alert']}\n" in RUNBOOK


def test_the_runbook_has_no_section_without_an_alert():
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_every_metric_that_the_documents_name_is_there():
    named = set(_METRIC.findall(OPERATIONS + RUNBOOK))
    known = metrics()
    assert {name for name in named if name not in known and f"{name}_total" not in known} == set()


def test_the_example_of_scraping_asks_a_route_that_there_is_and_reads_these_rules():
    example = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    (job,) = example["scrape_configs"]
    (discovery,) = job["http_sd_configs"]
    assert urlsplit(discovery["url"]).path in {route.path for route, _ in routes_of(GatewayService)}
    assert all((ROOT / "deploy" / name).is_file() for name in example["rule_files"])
