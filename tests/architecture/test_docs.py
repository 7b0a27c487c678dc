"""What the documents point at is there."""

import ast
import re

import pytest
import yaml

from tests.architecture.source import ROOT, tracked

DOCUMENTS = tracked("*.md")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_FUNCTION = re.compile(r"`([\w./-]+\.py):([A-Za-z_][\w.]*)")
_ELSEWHERE = re.compile(r"[a-z]+:")
_HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)


def text_of(path):
    return (ROOT / path).read_text()


def anchor_of(heading):
    """As GitHub makes it: words without marks, in lower case, joined by dashes."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def names_in(path):
    """Functions, classes, their methods, and what else a module names at its top."""
    found = set()
    for node in ast.parse(text_of(path)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
            found |= methods | {f"{node.name}.{method}" for method in methods}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def leads_somewhere(document, link):
    name, _, anchor = link.partition("#")
    target = ((ROOT / document).parent / name if name else ROOT / document).resolve()
    if not (target.is_relative_to(ROOT) and target.exists()):
        return False
    return not anchor or anchor in map(anchor_of, _HEADING.findall(_FENCED.sub("", target.read_text())))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_within_the_project_lead_somewhere(document):
    links = [link for link in _LINK.findall(_FENCED.sub("", text_of(document))) if not _ELSEWHERE.match(link)]
    assert [link for link in links if not leads_somewhere(document, link)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_functions_that_a_document_names_are_there(document):
    named = _FUNCTION.findall(text_of(document))
    missing = [f"{path}:{name}" for path, name in named if not (ROOT / path).is_file() or name not in names_in(path)]
    assert missing == []


def test_records_of_decisions_are_numbered_apart():
    numbers = [path.name[:4] for path in tracked("docs/adr/*.md")]
    assert all(re.fullmatch(r"\d{4}", number) for number in numbers)
    assert len(numbers) == len(set(numbers))


def test_every_setting_is_in_the_document_of_settings():
    named = set(re.findall(r"`([\w.]+)`", text_of("docs/configuration.md")))
    settings = yaml.safe_load(text_of("config.yaml"))
    asked = {*settings, *settings["http"]} - {"LOGGING"}
    assert sorted(asked - named) == []
