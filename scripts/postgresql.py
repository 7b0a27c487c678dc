"""PostgreSQL for the scripts: a throw-away cluster for tests, and a database for each service on a server."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from scripts.processes import ROOT, CannotStart, Command, free_port, start, stop, wait_until

CREATE = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0")
STARTUP_S = 60.0
SETTINGS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200")
FAST_NOT_SAFE = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=64MB")


def create_databases(uri: str, names: list[str]) -> None:
    """Make the databases that `uri`'s server does not have yet. Raises CannotStart when it does not let us."""
    server = urlsplit(uri)
    try:
        connection = psycopg2.connect(server._replace(scheme="postgresql").geturl(), connect_timeout=10)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            there = {name for (name,) in cursor.fetchall()}
            for name in names:
                if name not in there:
                    cursor.execute(
                        sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name))
                    )
        connection.close()
    except psycopg2.Error as problem:
        reason = str(problem).strip().splitlines()[0]
        raise CannotStart(f"PostgreSQL at {server.hostname}:{server.port or 5432} (PG_URI) refuses: {reason}") from None


def programs() -> Path:
    """The folder with initdb and postgres, installed now if they are missing and we may."""
    if not _found():
        subprocess.run([ROOT / "scripts/apt-install", "postgresql"], check=False)
    if found := _found():
        return found
    raise CannotStart("PostgreSQL is missing: install it (Debian: `apt install postgresql`); no cluster needs to run.")


def _found() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    if initdb := shutil.which("initdb"):
        folders.append(Path(initdb).resolve().parent)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def cluster(folder: Path, durable: bool = False) -> Iterator[str]:
    """A server on the loopback with its data under `folder`, and the URI of its superuser. Ends without keeping data.
    It commits as a real one does only if `durable`.

    As root it runs as the user postgres, since PostgreSQL refuses root; that user must be able to enter `folder`.
    """
    binaries, user = programs(), _user()
    data, port, password = folder / "data", free_port(), secrets.token_hex(16)
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o600)
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
        os.chown(secret, user.pw_uid, user.pw_gid)
    become = ("setpriv", "--reuid={0.pw_uid}", "--regid={0.pw_gid}", "--clear-groups", "--pdeathsig=keep")
    identity = tuple(word.format(user) for word in become) if user else ()
    initdb = (str(binaries / "initdb"), "--pgdata", str(data), "--username=rialto", "--encoding=UTF8", "--no-locale")
    made = subprocess.run(
        [*identity, *initdb, "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"],
        cwd=folder, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode:
        raise CannotStart(f"PostgreSQL's initdb failed: {made.stderr.strip().splitlines()[-1]}")
    options = (
        "listen_addresses=127.0.0.1",
        f"port={port}",
        "unix_socket_directories=",
        "max_connections=200",
        *(() if durable else FAST_NOT_SAFE),
    )
    settings = [argument for option in options for argument in ("-c", option)]
    command = Command("postgresql", (*identity, str(binaries / "postgres"), "-D", str(data), *settings))
    uri = f"postgresql://rialto:{password}@127.0.0.1:{port}/postgres"
    with (folder / "log").open("wb") as log:
        server = start(command, log)
    try:
        if not wait_until(lambda: server.poll() is not None or _answers(uri), STARTUP_S) or server.poll() is not None:
            raise CannotStart(f"PostgreSQL did not come up: {(folder / 'log').read_text().strip()[-300:]}")
        yield uri
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGQUIT)  # "immediate": nothing is kept, but its shared memory is given back
            wait_until(lambda: server.poll() is not None, 5)
        stop(server, 0)


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _answers(uri: str) -> bool:
    try:
        psycopg2.connect(uri, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
