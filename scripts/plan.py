"""What to run: the user's wishes from the environment, the services that there are, and what each process is told."""

import secrets
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from scripts.broker import Node
from scripts.processes import ROOT, CannotStart, Command, connects, free_port
from scripts.supervisor import Rank, Unit

SERVICES = (
    "users",
    "products",
    "inventory",
    "carts",
    "orders",
    "payments",
    "shipping",
    "notifications",
    "risk",
    "accounts",
    "transactions",
    "support",
    "registry",
)
SANDBOXES = ("acquirer", "carrier", "bank")
PARCELS_MOVE_EVERY_S = "3"
PAYOUTS_SETTLE_AFTER_S = "3"


@dataclass(frozen=True)
class Wishes:
    """What the user asked for. `scale` has an entry for each service that there is."""

    port: int
    var: Path
    amqp_uri: str | None
    scale: Mapping[str, int]
    pg_uri: str | None
    demo: bool

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def read(env: Mapping[str, str]) -> Wishes:
    """Raises CannotStart, with a sentence that names the variable and the mend."""
    database = env.get("DB") or "sqlite"
    if database not in ("sqlite", "postgresql"):
        raise CannotStart(f"DB is {database}; it can be sqlite or postgresql.")
    pg_uri = env.get("PG_URI") or None
    if database == "postgresql" and not pg_uri:
        raise CannotStart("DB=postgresql needs PG_URI, for example postgresql://me:secret@127.0.0.1:5432/postgres.")
    return Wishes(
        port=port(env, "PORT") or 8000,
        var=Path(env.get("VAR") or "var").absolute(),
        amqp_uri=env.get("AMQP_URI") or None,
        scale=scale(env.get("SCALE") or ""),
        pg_uri=pg_uri if database == "postgresql" else None,
        demo=env.get("DEMO") != "0",
    )


def port(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name) or ""
    if text and not (text.isdecimal() and 0 < int(text) < 65536):
        raise CannotStart(f"{name} is {text!r}; it has to be a port, 1 to 65535.")
    return int(text) if text else None


def scale(text: str) -> dict[str, int]:
    """Instances of each service that there is, from `orders=2 inventory=3`."""
    counts = {name: 1 for name in SERVICES if (ROOT / "services" / name / "service.py").exists()}
    for wish in text.split():
        name, _, count = wish.partition("=")
        if name not in counts:
            raise CannotStart(f"SCALE names {name}, which is none of: {', '.join(counts)}.")
        if not (count.isdecimal() and 0 < int(count) < 100):
            raise CannotStart(f"SCALE says {wish}; write a number of instances from 1 to 99, as in {name}=2.")
        counts[name] = int(count)
    return counts


def masked(uri: str) -> str:
    """A URI that may be shown: its password is left out."""
    parts = urlsplit(uri)
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    user = f"{parts.username}:***@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=user + host))


def database_uris(wishes: Wishes) -> dict[str, str]:
    """A database for each service: a file, or one on the server of PG_URI, made by `databases.create`."""
    if not wishes.pg_uri:
        return {f"{name.upper()}_DB": f"sqlite:///{wishes.var}/{name}.db" for name in wishes.scale}
    parts = urlsplit(wishes.pg_uri)._replace(scheme="postgresql+psycopg2")
    return {f"{name.upper()}_DB": urlunsplit(parts._replace(path=f"/rialto_{name}")) for name in wishes.scale}


def environment(wishes: Wishes, amqp_uri: str, node: Node | None, env: Mapping[str, str]) -> dict[str, str]:
    """What every process is told, and what VAR/env tells a shell."""
    management = node.management_uri if node else env.get("MANAGEMENT_URI")
    return {
        "VAR": str(wishes.var),
        "PORT": str(wishes.port),
        "AMQP_URI": amqp_uri,
        **({"MANAGEMENT_URI": management} if management else {}),
        **database_uris(wishes),
        "ACQUIRER_URL": f"http://127.0.0.1:{port(env, 'ACQUIRER_PORT') or free_port()}",
        "CARRIER_URL": f"http://127.0.0.1:{port(env, 'CARRIER_PORT') or free_port()}",
        "BANK_URL": f"http://127.0.0.1:{port(env, 'BANK_PORT') or free_port()}",
        "ACQUIRER_HOOK_SECRET": env.get("ACQUIRER_HOOK_SECRET") or secrets.token_hex(16),
        "CARRIER_HOOK_SECRET": env.get("CARRIER_HOOK_SECRET") or secrets.token_hex(16),
        "BANK_HOOK_SECRET": env.get("BANK_HOOK_SECRET") or secrets.token_hex(16),
        "BANK_AUTO_S": env.get("BANK_AUTO_S") or (PAYOUTS_SETTLE_AFTER_S if wishes.demo else "0"),
        "CARRIER_AUTO_S": env.get("CARRIER_AUTO_S") or (PARCELS_MOVE_EVERY_S if wishes.demo else "0"),
        "MAIL_DIR": env.get("MAIL_DIR") or str(wishes.var / "mail"),
    }


def python(name: str, *args: str, env: Mapping[str, str]) -> Command:
    """Our interpreter, with the project's folder on its path and its output unbuffered."""
    return Command(name, (sys.executable, *args), {**env, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})


def nameko(service: str, target: str, number: int, rank: Rank, env: Mapping[str, str]) -> Unit:
    """An instance as anyone would start it, `nameko run`. It serves when its metrics can be read."""
    metrics_port = free_port()
    own = {**env, "INSTANCE": str(number), "METRICS_PORT": str(metrics_port)}
    command = python(service, "-m", "nameko", "run", "--config", "config.yaml", target, env=own)
    return Unit(service, number, rank, command, up=lambda: connects(metrics_port), metrics_port=metrics_port)


def service(name: str, number: int, env: Mapping[str, str]) -> Unit:
    return nameko(name, f"services.{name}.service:{name.capitalize()}Service", number, Rank.SERVICE, env)


def gateway(env: Mapping[str, str]) -> Unit:
    return nameko("gateway", "gateway:GatewayService", 1, Rank.GATEWAY, env)


def sandbox(name: str, wishes: Wishes, env: Mapping[str, str]) -> Unit:
    own_port = urlsplit(env[f"{name.upper()}_URL"]).port or 0
    argv = ("-m", f"sandbox.{name}", "--port", str(own_port), "--db", str(wishes.var / f"{name}.db"))
    hook = ("--hook-url", f"{wishes.url}/v1/hooks/{name}", "--hook-secret", env[f"{name.upper()}_HOOK_SECRET"])
    return Unit(name, 1, Rank.SANDBOX, python(name, *argv, *hook, env=env), up=lambda: connects(own_port))


def broker(node: Node) -> list[Unit]:
    return [Unit(command.name, 1, Rank.BROKER, command, up=node.ready) for command in node.commands]


def write_env(wishes: Wishes, env: Mapping[str, str]) -> Path:
    """VAR/env, for `. var/env;` in a shell. Only its owner can read it: it holds secrets."""
    path = wishes.var / "env"
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items()))
    return path
