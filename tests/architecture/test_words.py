"""The project's text is about the project: nothing of the machine it was written on, no host it was installed from."""

import re

import pytest

from tests.architecture.source import ROOT, tracked

HERE = re.compile(r"(?<![\w.\-$}>)])/(work|root|home|Users|mnt|tmp)/")
HOSTS = re.compile(
    r"\b(pypi\.org|pythonhosted\.org|deb\.debian\.org|registry-1\.docker\.io|docker\.io|ghcr\.io|quay\.io"
    r"|registry\.npmjs\.org|proxy\.golang\.org)\b"
)
OURSELVES = "tests/architecture/test_words.py"


def readable(path):
    try:
        return (ROOT / path).read_text()
    except UnicodeDecodeError:
        return ""


FILES = [path for path in tracked() if str(path) != OURSELVES]


def test_no_file_names_a_folder_of_one_machine():
    assert [f"{path}: {found[0]}" for path in FILES if (found := HERE.search(readable(path)))] == []


def test_no_file_names_the_host_of_a_registry():
    assert [f"{path}: {found[0]}" for path in FILES if (found := HOSTS.search(readable(path)))] == []


@pytest.mark.parametrize("path", tracked("requirements.lock"), ids=str)
def test_the_lock_is_names_and_versions_alone(path):
    lines = [line for line in readable(path).splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[\w.]+", line)] == []
