"""users: who somebody is, what they may do, where they live, what they pay with."""

import uuid
from datetime import timedelta

from nameko.timer import timer

from chassis.commands import answer, claim, command, store_result
from chassis.context import Call
from chassis.db import Database, WorkerDatabase
from chassis.errors import ServiceError
from chassis.leases import take_lease
from chassis.provide import provided
from chassis.prune import Pruner
from chassis.rpc import rpc
from chassis.service import CallContext
from chassis.types import CUSTOMER, OPERATOR
from contracts import users as contract
from contracts.common import Address, Text
from contracts.users import AddressName, Brand, CardToken, Email, Id, Last4, Password, Role, UsersApi
from services.users import passwords, sessions, store
from services.users.domain import address_of
from services.users.founding import Founding
from services.users.models import Base
from services.users.settings import Settings

SWEEP_S = 3600


class UsersService:
    name = "users"

    call = provided(Call, CallContext(UsersApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner()
    settings = provided(Settings, Founding())

    # Not a @command, whose body runs in the write transaction: a hash takes its time. And the inbox keeps a digest of
    # the input, from which a password could be guessed: so what tells one sign-up from another leaves it out.
    @rpc
    def sign_up(self, email: Email, password: Password, name: Text, *, key: str) -> contract.User:
        password_hash = passwords.hash_of(password)
        told = {"email": email, "name": name}
        with self.db.write() as session:
            if not claim(session, key, "sign_up", told, "ok"):
                before: contract.User = answer(session, key, "sign_up", told, contract.User)
                return before
            user = store.add_account(session, email, name, [CUSTOMER], password_hash)
            if user is None:
                raise store.email_taken()
            store_result(session, key, user)
            return user

    @rpc
    def log_in(self, email: str, password: str) -> contract.Session:
        address = address_of(email)
        with self.db.read() as session:
            sessions.require_open(session, address)
            account_id, password_hash = store.password_at(session, address) or (None, None)
        is_right = passwords.is_right(password, password_hash)
        better_hash = None
        if is_right and password_hash and passwords.is_outdated(password_hash):
            better_hash = passwords.hash_of(password)
        with self.db.write() as session:
            if is_right and account_id and password_hash:
                sessions.forget_failures(session, address)
                if better_hash:
                    store.replace_password_hash(session, account_id, password_hash, better_hash)
                user = store.user(session, account_id)
                return contract.Session(user=user, tokens=sessions.begin(session, user, self.settings))
            sessions.count_failure(session, address, self.settings)
        raise ServiceError("users.bad_credentials", "The e-mail address or the password is wrong.")

    @rpc
    def refresh(self, refresh_token: str) -> contract.Tokens:
        with self.db.write() as session:
            used = sessions.use_refresh_token(session, refresh_token)
            if used is not None:
                session_id, account_id = used
                return sessions.issue(session, session_id, store.user(session, account_id), self.settings)
        raise ServiceError("users.bad_refresh_token", "The refresh token is not valid any more: log in again.")

    @rpc
    def log_out(self, session_id: Id) -> None:
        caller = self.call.caller
        whose = None if self.call.is_trusted() or caller is None else caller.customer_id or ""
        with self.db.write() as session:
            sessions.end(session, session_id, whose)

    @rpc
    def public_keys(self) -> list[contract.PublicKey]:
        with self.db.read() as session:
            return sessions.public_keys(session)

    @rpc
    def profile(self, user_id: Id) -> contract.Profile:
        caller = self.call.caller
        if not (self.call.owns(user_id) or (caller and OPERATOR in caller.roles)):
            raise store.not_found(user_id)
        with self.db.read() as session:
            return store.profile(session, user_id)

    @command
    def update(
        self, user_id: Id, name: Text | None = None, email: Email | None = None, *, key: str
    ) -> contract.Profile:
        self._require_own(user_id)
        given = {"name": name, "email": email}
        store.change(self.db.session, user_id, **{field: value for field, value in given.items() if value is not None})
        return store.profile(self.db.session, user_id)

    @command
    def set_roles(self, user_id: Id, roles: list[Role], *, key: str) -> contract.User:
        self.call.require_operator()
        store.change(self.db.session, user_id, roles=sorted(set(roles)))
        return store.user(self.db.session, user_id)

    @command
    def put_address(self, user_id: Id, name: AddressName, address: Address, *, key: str) -> contract.Profile:
        self._require_own(user_id)
        store.put_address(self.db.session, user_id, name, address)
        return store.profile(self.db.session, user_id)

    @command
    def delete_address(self, user_id: Id, name: AddressName, *, key: str) -> None:
        self._require_own(user_id)
        store.delete_address(self.db.session, user_id, name)

    @command
    def add_payment_method(
        self, user_id: Id, token: CardToken, brand: Brand, last4: Last4, *, key: str
    ) -> contract.SavedMethod:
        self._require_own(user_id)
        return store.add_method(self.db.session, user_id, token, brand, last4)

    @command
    def delete_payment_method(self, user_id: Id, method_id: Id, *, key: str) -> None:
        self._require_own(user_id)
        store.delete_method(self.db.session, user_id, method_id)

    @timer(interval=SWEEP_S)
    def sweep(self) -> None:
        """Every hour, in one of the instances."""
        with self.db.write() as session:
            if take_lease(session, "sweep", uuid.uuid4().hex, timedelta(seconds=SWEEP_S * 0.9)):
                sessions.sweep(session, self.settings)

    def _require_own(self, user_id: str) -> None:
        if not self.call.owns(user_id):
            raise store.not_found(user_id)
