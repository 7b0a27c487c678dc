"""Where mails go: into a Maildir, each exactly once, or to an SMTP server, each at least once.

SMTP has no way to ask whether a server took a mail whose answer was lost, so it is sent again, with the Message-ID
that lets a reader's program see the repeat.
"""

import os
import smtplib
import ssl
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from services.notifications.domain import Letter, file_name, to_message

SMTP_TIMEOUT_S = 8.0


class Refused(Exception):
    """The mail server will never take this one."""


class Postman(Protocol):
    """`batch`: how many letters are handed over, and noted as sent, together."""

    batch: int

    def deliver(self, letters: list[Letter]) -> None:
        """Deliver all. Raises OSError if any was perhaps not delivered (again later), Refused if it never can be."""
        ...


class Maildir:
    """A folder of files, one for each mail, under a name made from its event's id: a repeat finds it there.

    It is known also when a mail program has moved it from new/ to cur/, not after somebody has deleted it.
    """

    batch = 50

    def __init__(self, folder: Path, sender: str) -> None:
        self.folder, self.sender = folder, sender

    def deliver(self, letters: list[Letter]) -> None:
        for name in ("tmp", "new", "cur"):
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        seen = {path.name.partition(":")[0] for path in (self.folder / "cur").iterdir()}
        for letter in letters:
            name = file_name(letter.id)
            if name not in seen and not (self.folder / "new" / name).exists():
                self._write(letter, name)
                time.sleep(0)  # each is a write to the disk, in which nobody else of this process works
        _sync(self.folder / "new")

    def _write(self, letter: Letter, name: str) -> None:
        draft = self.folder / "tmp" / f"{name}.{os.getpid()}"
        with draft.open("wb") as file:
            file.write(to_message(letter, self.sender).as_bytes())
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.folder / "new" / name)


class Smtp:
    """`smtp://` speaks TLS where the server offers it, and gives a password only then; `smtps://` always does."""

    batch = 1

    def __init__(self, url: str, sender: str) -> None:
        self.url, self.sender = urlsplit(url), sender

    def deliver(self, letters: list[Letter]) -> None:
        with self._connect() as server:
            for letter in letters:
                try:
                    server.send_message(to_message(letter, self.sender), self.sender, [letter.to])
                except smtplib.SMTPRecipientsRefused as exc:
                    code, reason = exc.recipients[letter.to]
                    _raise_refused(code, reason)
                    raise
                except smtplib.SMTPDataError as exc:
                    _raise_refused(exc.smtp_code, exc.smtp_error)
                    raise
                except smtplib.SMTPNotSupportedError as exc:
                    raise Refused(str(exc)) from exc

    def _connect(self) -> smtplib.SMTP:
        host, port = self.url.hostname or "localhost", self.url.port
        if self.url.scheme == "smtps":
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port or 465, timeout=SMTP_TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(host, port or 587, timeout=SMTP_TIMEOUT_S)
        try:
            self._introduce(server)
        except BaseException:
            server.close()
            raise
        return server

    def _introduce(self, server: smtplib.SMTP) -> None:
        server.ehlo()
        encrypted = self.url.scheme == "smtps"
        if not encrypted and server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
            encrypted = True
        if self.url.username:
            if not encrypted:
                raise OSError("the mail server offers no TLS: it is not given the password")
            server.login(unquote(self.url.username), unquote(self.url.password or ""))


def _raise_refused(code: int, reason: bytes | str) -> None:
    if code >= 500:
        raise Refused(f"{code} {reason.decode(errors='replace') if isinstance(reason, bytes) else reason}")


def _sync(folder: Path) -> None:
    """Make renames in a folder last through a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
