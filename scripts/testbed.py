"""What `make test` runs pytest in: a RabbitMQ node and a PostgreSQL cluster that nobody else uses and nothing survives.

pytest's arguments are passed on, its exit code is ours. It finds AMQP_URI, RABBIT_CTL_URI (the node's management API)
and PG_URI (a superuser's) in its environment.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from scripts.broker import Broker
from scripts.postgresql import cluster
from scripts.processes import ROOT, CannotStart, dies_with_us

WORKERS = ("-n", "logical", "--maxprocesses", "6", "--dist", "loadgroup")


def main() -> int:
    signal.signal(signal.SIGTERM, end)
    with ExitStack() as throw_away:
        folder = Path(throw_away.enter_context(tempfile.TemporaryDirectory(prefix="rialto-test-")))
        folder.chmod(0o711)  # PostgreSQL runs as another user, and has to pass
        install_browser()
        pg_uri = throw_away.enter_context(cluster(folder / "postgresql"))
        node = throw_away.enter_context(Broker(folder / "broker"))
        env = {
            **{name: value for name, value in os.environ.items() if name not in ("VAR", "PORT", "SCALE", "DB", "DEMO")},
            "AMQP_URI": node.amqp_uri,
            "RABBIT_CTL_URI": node.management_uri,
            "PG_URI": pg_uri,
            "TMPDIR": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        argv = [sys.executable, "-m", "pytest", *WORKERS, *sys.argv[1:]]
        pytest = subprocess.Popen(argv, cwd=ROOT, env=env, preexec_fn=dies_with_us())  # noqa: PLW1509 - no threads here
        try:
            return pytest.wait()
        except KeyboardInterrupt:
            return pytest.wait()  # the terminal interrupts pytest too, which then ends by itself
        finally:
            if pytest.poll() is None:
                pytest.terminate()
                pytest.wait()


def end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)


def install_browser() -> None:
    """For the page's tests; where it cannot be installed they say so themselves."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        subprocess.run([ROOT / "scripts/apt-install", "chromium", "chromium-driver"], check=False)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CannotStart as problem:
        sys.exit(str(problem))
