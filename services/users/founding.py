"""What there must be before users answers anybody: a key to sign with, and a first operator."""

import secrets
from logging import getLogger
from typing import Any

from nameko.extensions import DependencyProvider

from chassis.db import Sessions, new_engine
from chassis.types import OPERATOR
from services.users import passwords, sessions, store
from services.users.settings import Settings, settings_of

log = getLogger("rialto.users")


class Founding(DependencyProvider):
    """Worker attribute: the Settings."""

    def setup(self) -> None:
        # In setup and with an engine of its own: a service takes no calls until every setup is done.
        config = self.container.config
        self.settings = settings_of(config)
        engine = new_engine(config["DB_URIS"][f"{self.container.service_name}:Base"], pool_size=1)
        try:
            found(Sessions(engine), self.settings)
        finally:
            engine.dispose()

    def get_dependency(self, worker_ctx: Any) -> Settings:
        return self.settings


def found(database: Sessions, settings: Settings) -> None:
    """Make the first signing key and the first operator, unless there are. Any number of instances may do so at once.

    Side effect: prints a password that was made up, once.
    """
    with database.write() as session:
        sessions.make_first_key(session)
        if store.has_operator(session):
            return
    password = settings.operator_password or secrets.token_urlsafe(12)
    password_hash = passwords.hash_of(password)
    email = settings.operator_email
    with database.write() as session:
        operator = store.add_account(session, email, "Operator", [OPERATOR], password_hash)
        if operator is not None and settings.operator_password is None:
            # before the commit: a password that was shown in vain does less harm than one that nobody saw
            print(f"The first operator is {email} with the password {password} (shown only now).", flush=True)
        if not store.has_operator(session):
            log.error("there is no operator, and operator_email is another user's", extra={"email": email})
