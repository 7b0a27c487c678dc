"""Write the snapshots anew for changes that are meant: `python -m tests.contract.renew`. Read the diff then."""

import eventlet

eventlet.monkey_patch()  # before anything else is imported

from tests.contract.snapshots import FOLDER, current  # noqa: E402

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    files = current()
    for stale in FOLDER.glob("*.json"):
        if stale.name not in files:
            stale.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text)
