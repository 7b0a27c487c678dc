"""The project's own text: which files it has, and what its modules import."""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def tracked(*patterns):
    """The committed files that match, relative to the project's folder."""
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def imports_of(path):
    """The dotted names that a module imports, anywhere in it; `from a import b` gives a and a.b."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def top(names):
    """The packages that dotted names belong to."""
    return {name.partition(".")[0] for name in names}
