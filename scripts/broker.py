"""A RabbitMQ node of our own: private name, ports, cookie and folders, and nothing that listens beyond the loopback.

    python -m scripts.broker FOLDER [amqp-port management-port]

runs one until SIGTERM. Where the node comes from, in this order: RabbitMQ as installed; the Debian package, installed
now if we may; a container, if a Docker engine answers. (A broker given as AMQP_URI is the caller's business.)
"""

import base64
import http.client
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

if not __package__:  # run as a file: `python scripts/broker.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.processes import ROOT, CannotStart, Command, connects, free_port, kill_group, start, stop

CONTAINER_IMAGE = "rabbitmq:3.13-management"
STARTUP_S = 120.0

CONFIG = """\
listeners.tcp.local = 127.0.0.1:{amqp_port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management_port}
log.file = false
log.console = true
log.console.level = warning
log.console.use_colors = off
"""


@dataclass(frozen=True)
class Node:
    """A broker that is ready to be started: run `commands` in order, and stop them in the opposite order."""

    amqp_port: int
    management_port: int
    commands: tuple[Command, ...]

    @property
    def amqp_uri(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.amqp_port}/"

    @property
    def management_uri(self) -> str:
        return f"http://guest:guest@127.0.0.1:{self.management_port}"

    def ready(self) -> bool:
        """Whether clients and the management API are served."""
        return connects(self.amqp_port) and self._management_answers()

    def _management_answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.management_port, timeout=2)
        token = base64.b64encode(b"guest:guest").decode()
        try:
            connection.request("GET", "/api/vhosts", headers={"Authorization": f"Basic {token}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def prepare(folder: Path, amqp_port: int | None = None, management_port: int | None = None) -> Node:
    """Find or install RabbitMQ and write a node's files under `folder`. Queues in `folder` survive to the next start.

    Raises CannotStart with what to install.
    """
    amqp_port, management_port = amqp_port or free_port(), management_port or free_port()
    server = installed() or install()
    if server:
        commands = native(folder.resolve(), server, amqp_port, management_port)
    elif docker_answers():
        commands = container(folder.resolve(), amqp_port, management_port)
    else:
        raise CannotStart(
            "RabbitMQ is missing: install it (Debian: `apt install rabbitmq-server`), start a Docker engine, "
            "or set AMQP_URI to a broker that this system may use."
        )
    return Node(amqp_port, management_port, commands)


def installed() -> Path | None:
    """The server's own start script. Debian's on the PATH changes to a user who cannot enter our folder."""
    folders = [Path("/usr/lib/rabbitmq/bin"), Path("/opt/homebrew/sbin"), Path("/usr/local/sbin")]
    if found := shutil.which("rabbitmq-server"):
        folders.append(Path(found).resolve().parent)
    scripts = (folder / "rabbitmq-server" for folder in folders)
    return next((script for script in scripts if script.exists() and shutil.which("erl")), None)


def install() -> Path | None:
    """Install the Debian package where we may; None where we may not. Starts no system node. Takes a minute."""
    if not shutil.which("apt-get"):
        return None
    subprocess.run([ROOT / "scripts/apt-install", "rabbitmq-server"], check=False)
    return installed()


def docker_answers() -> bool:
    """Whether there is a Docker client here with an engine behind it."""
    if not shutil.which("docker"):
        return False
    try:
        return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def native(folder: Path, server: Path, amqp_port: int, management_port: int) -> tuple[Command, ...]:
    """An epmd and a node. The node keeps its one name for ever, since its data belong to that name; their own epmd
    keeps equal names of other nodes apart. Left to itself the node would leave an epmd behind.
    """
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    cookie = home / ".erlang.cookie"
    if not cookie.exists():
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
    (folder / "rabbitmq.conf").write_text(CONFIG.format(amqp_port=amqp_port, management_port=management_port))
    (folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
    (folder / "empty.conf").touch()
    epmd_port = free_port()
    env = {
        "HOME": str(home),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "rialto@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "empty.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
        # schedulers that spin while they wait would take the cores from the services
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false "
        "+sbwt none +sbwtdcpu none +sbwtdio none",
        # The script then becomes the node instead of staying between us and it, so that signals reach the node.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
    epmd = Command("epmd", (find_epmd(), "-address", "127.0.0.1", "-port", str(epmd_port)), env)
    return epmd, Command("broker", (str(server),), env)


def find_epmd() -> str:
    """Erlang's port mapper. Some packages keep it off the PATH."""
    if found := shutil.which("epmd"):
        return found
    for path in Path("/usr/lib/erlang").glob("erts-*/bin/epmd"):
        return str(path)
    raise CannotStart("Erlang's epmd is missing: install erlang-base again, it belongs to it.")


def container(folder: Path, amqp_port: int, management_port: int) -> tuple[Command, ...]:
    """A container in the foreground; docker passes signals on to it. One that a crash left behind is removed first."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"rialto-{amqp_port}"
    argv = [
        "docker",
        "run",
        "--rm",
        "--name",
        name,
        "--hostname",
        "rialto",
        "--volume",
        f"{folder}/data:/var/lib/rabbitmq",
    ]
    argv += ["--publish", f"127.0.0.1:{amqp_port}:5672", "--publish", f"127.0.0.1:{management_port}:15672"]
    return (Command("broker", (*argv, CONTAINER_IMAGE)),)


class Broker:
    """A node started here and now, for a test run or for `python -m scripts.broker`. A context manager."""

    def __init__(self, folder: Path, amqp_port: int | None = None, management_port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.node = prepare(folder, amqp_port, management_port)
        self.log = folder / "broker.log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Node:
        """Start, and wait until it serves. Raises CannotStart after two minutes, or at once if the node ends."""
        with ExitStack() as undo:
            undo.callback(self.stop, 0)
            with self.log.open("ab") as log:
                self.processes += [start(command, log) for command in self.node.commands]
            limit = time.monotonic() + STARTUP_S
            while not self.node.ready():
                if self.ended() or time.monotonic() > limit:
                    raise CannotStart(f"The broker did not come up; its log is {self.log}.")
                time.sleep(0.1)
            undo.pop_all()
        return self.node

    def __exit__(self, *_: object) -> None:
        self.stop(0)

    def ended(self) -> bool:
        return any(process.poll() is not None for process in self.processes)

    def stop(self, grace_s: float) -> None:
        """End the node, then its epmd. Without grace nothing is flushed, which is enough for a throw-away node."""
        for process in reversed(self.processes):
            if grace_s:
                stop(process, grace_s)
            kill_group(process, signal.SIGKILL)
            process.wait()
        self.processes.clear()


def main() -> None:
    folder, *ports = sys.argv[1:] or sys.exit("usage: python -m scripts.broker FOLDER [AMQP_PORT MANAGEMENT_PORT]")
    broker = Broker(Path(folder), *map(int, ports))
    stopped = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    with broker as node:
        print(f"AMQP_URI={node.amqp_uri}\nRABBIT_CTL_URI={node.management_uri}\nready (pid {os.getpid()})", flush=True)
        while not stopped and not broker.ended():
            time.sleep(0.2)
        broker.stop(8)


if __name__ == "__main__":
    try:
        main()
    except CannotStart as problem:
        sys.exit(str(problem))
