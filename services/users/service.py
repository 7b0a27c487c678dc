"""users: who somebody is, what they may do, where they live, what they pay with."""

import functools
import uuid
from collections.abc import Mapping
from datetime import timedelta

from nameko.timer import timer
from sqlalchemy.orm import Session

from chassis.commands import Outside, answer, claim, command, peek, store_result
from chassis.context import Call
from chassis.cursors import encode_cursor, read_cursor
from chassis.db import Database, WorkerDatabase
from chassis.errors import ServiceError
from chassis.leases import take_lease
from chassis.outbox import Relay
from chassis.privacy import PrivacyOperations, require_staying
from chassis.privacy_types import Cursor, Person, Record
from chassis.provide import provided
from chassis.prune import Pruner
from chassis.rpc import Remotes, rpc
from chassis.saga_engine import Sagas
from chassis.saga_operations import SagaOperations
from chassis.service import CallContext
from chassis.types import CUSTOMER, OPERATOR
from contracts import users as contract
from contracts.common import Address, Text
from contracts.privacy import PrivacyApi
from contracts.users import (
    AddressName,
    Brand,
    CardToken,
    Email,
    Id,
    Last4,
    Password,
    PrivacyForgotten,
    PrivacyRequest,
    Role,
    UsersApi,
    Why,
)
from services.users import passwords, requests, sessions, store
from services.users.collecting import collected
from services.users.domain import address_of
from services.users.flows import BEGINS, ERASE, EXPORT, OTHERS, About
from services.users.founding import Founding
from services.users.models import Base
from services.users.privacy import KINDS
from services.users.settings import Settings

SWEEP_S = 3600


class UsersService(PrivacyOperations, SagaOperations):
    name = "users"
    kinds = KINDS

    call = provided(Call, CallContext(UsersApi))
    db = provided(WorkerDatabase, Database(Base))
    pruner = Pruner(PrivacyForgotten, kinds=KINDS)
    relay = Relay()
    sagas = Sagas(EXPORT, ERASE)
    settings = provided(Settings, Founding())
    others = provided(Mapping[str, PrivacyApi], Remotes(OTHERS))

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
                require_staying(session, account_id)
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
                require_staying(session, account_id)
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
        self._require_own_staying(user_id)
        given = {"name": name, "email": email}
        store.change(self.db.session, user_id, **{field: value for field, value in given.items() if value is not None})
        return store.profile(self.db.session, user_id)

    @command
    def set_roles(self, user_id: Id, roles: list[Role], *, key: str) -> contract.User:
        self.call.require_operator()
        require_staying(self.db.session, user_id)
        store.change(self.db.session, user_id, roles=sorted(set(roles)))
        return store.user(self.db.session, user_id)

    @command
    def put_address(self, user_id: Id, name: AddressName, address: Address, *, key: str) -> contract.Profile:
        self._require_own_staying(user_id)
        store.put_address(self.db.session, user_id, name, address)
        return store.profile(self.db.session, user_id)

    @command
    def delete_address(self, user_id: Id, name: AddressName, *, key: str) -> None:
        self._require_own_staying(user_id)
        store.delete_address(self.db.session, user_id, name)

    @command
    def add_payment_method(
        self, user_id: Id, token: CardToken, brand: Brand, last4: Last4, *, key: str
    ) -> contract.SavedMethod:
        self._require_own_staying(user_id)
        return store.add_method(self.db.session, user_id, token, brand, last4)

    @command
    def delete_payment_method(self, user_id: Id, method_id: Id, *, key: str) -> None:
        self._require_own_staying(user_id)
        store.delete_method(self.db.session, user_id, method_id)

    # --- what customers ask of the whole house

    @rpc
    def request_export(self, customer_id: Id, *, key: str) -> PrivacyRequest:
        self._require_own(customer_id)
        with self.db.write() as session:
            return self._requested(session, requests.EXPORT, customer_id, "", key)

    # Not a @command, as sign_up is none: a hash takes its time, and of a password nothing is kept.
    @rpc
    def request_erasure(
        self, customer_id: Id, password: str | None = None, reason: Why = "", *, key: str
    ) -> PrivacyRequest:
        if not self.call.is_staff():
            self._require_own(customer_id)
        with self.db.read() as session:
            known: str | None = peek(session, *_claimed(requests.ERASURE, customer_id, key), str)
            if known is not None:
                return self._shown(session, known)
            address, password_hash = store.password_of(session, customer_id)
            sessions.require_open(session, address)
        proven = password is not None and passwords.is_right(password, password_hash)
        with self.db.write() as session:
            if proven:
                sessions.forget_failures(session, address)
            if proven or (password is None and self.call.is_staff()):
                return self._requested(session, requests.ERASURE, customer_id, reason, key)
            sessions.count_failure(session, address, self.settings)
        raise ServiceError("users.bad_credentials", "The password is wrong.")

    @rpc
    def privacy_request(self, request_id: Id) -> PrivacyRequest:
        with self.db.read() as session:
            return self._shown(session, request_id)

    @rpc
    def export_document(self, request_id: Id, after: Cursor | None = None) -> contract.ExportDocument:
        position = read_cursor(after, tuple[str, int], "privacy.bad_cursor")
        with self.db.read() as session:
            request = self._shown(session, request_id)
            if request.kind != requests.EXPORT:
                raise requests.not_found(request_id)
            if request.status != requests.READY:
                raise ServiceError("privacy.not_ready", "It is still being collected.", {"retry_after_s": 1})
            parts, last = requests.parts(session, request_id, position)
        return contract.ExportDocument(
            id=request.id,
            requested_at=request.requested_at,
            parts=parts,
            next_after=encode_cursor(last) if last else None,
        )

    @command(retriable=True)
    def collect(
        self, request_id: Id, service: str, person: Person, *, key: str
    ) -> Outside[tuple[list[list[Record]], bool], None]:
        self.call.require_trusted()
        requests.require(self.db.session, request_id)
        asked = self.others.get(service, self)
        pages, complete = yield functools.partial(collected, asked, person)
        requests.keep(self.db.session, request_id, service, pages, complete)

    @timer(interval=SWEEP_S)
    def sweep(self) -> None:
        """Every hour, in one of the instances."""
        with self.db.write() as session:
            if take_lease(session, "sweep", uuid.uuid4().hex, timedelta(seconds=SWEEP_S * 0.9)):
                sessions.sweep(session, self.settings)
                requests.sweep(session, self._kept)

    def _require_own(self, user_id: str) -> None:
        if not self.call.owns(user_id):
            raise store.not_found(user_id)

    def _require_own_staying(self, user_id: str) -> None:
        self._require_own(user_id)
        require_staying(self.db.session, user_id)

    def _requested(self, session: Session, kind: str, customer_id: str, reason: str, key: str) -> PrivacyRequest:
        """Begin it, once for each key: the claim, the request and its saga in one transaction."""
        claimed = _claimed(kind, customer_id, key)
        if claim(session, *claimed, "ok"):
            email = store.user(session, customer_id).email
            request_id = requests.add(session, kind, customer_id, self.call.author(), reason)
            require_staying(session, customer_id)
            about = About(request_id=request_id, person=Person(customer_id=customer_id, email=email))
            self.sagas.start_saga(session, BEGINS[kind], request_id, about)
            store_result(session, claimed[0], request_id)
        else:
            request_id = answer(session, *claimed, str)
        return self._shown(session, request_id)

    def _shown(self, session: Session, request_id: str) -> PrivacyRequest:
        row = requests.find(session, request_id, self._kept)
        if row.kind == requests.EXPORT and not self.call.owns(row.customer_id):
            raise requests.not_found(request_id)
        return requests.view(row, self._kept)

    @property
    def _kept(self) -> timedelta:
        return timedelta(seconds=self.settings.privacy_export_kept_s)


def _claimed(kind: str, customer_id: str, key: str) -> tuple[str, str, str]:
    """The inbox key of a request, its command and its input."""
    return f"{customer_id}:{kind}:{key}", kind, customer_id
