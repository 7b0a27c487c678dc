"""A service's sagas in the hands of operators, over RPC."""

from datetime import datetime, timedelta

from chassis import saga_admin as admin
from chassis import saga_views as views
from chassis.commands import command
from chassis.context import Call
from chassis.cursors import after_saga, read_cursor
from chassis.db import WorkerDatabase, now
from chassis.operator_types import (
    Action,
    Age,
    Filter,
    PageSize,
    Reason,
    Saga,
    SagaPage,
    SagaStatus,
    Version,
)
from chassis.rpc import rpc
from chassis.saga_engine import Sagas


class SagaOperations:
    """For a service with sagas: `class OrdersService(SagaOperations)`. Operators only."""

    name: str
    call: Call
    db: WorkerDatabase
    sagas: Sagas

    @rpc
    def find_sagas(
        self,
        status: SagaStatus | None = None,
        name: Filter | None = None,
        stuck: bool | None = None,
        attention: bool | None = None,
        older_than_s: Age | None = None,
        text: Filter | None = None,
        limit: PageSize = 20,
        cursor: str | None = None,
    ) -> SagaPage:
        self.call.require_operator()
        before = read_cursor(cursor, tuple[datetime, str], "sagas.bad_cursor")
        overdue = timedelta(milliseconds=self.sagas.pace.unknown_after_ms)
        with self.db.read() as session:
            where = admin.filters(now(session), overdue, status, name, stuck, attention, older_than_s, text)
            rows = admin.find(session, where, limit + 1, before)
            items = [views.summary(admin.case_of(session, self.sagas, row), self.name) for row in rows[:limit]]
        return SagaPage(items=items, next_cursor=after_saga(items[-1]) if len(rows) > limit else None)

    @rpc
    def get_saga(self, saga_id: str) -> Saga:
        self.call.require_operator()
        with self.db.read() as session:
            case = admin.case_of(session, self.sagas, admin.get(session, saga_id))
            return views.dossier(session, case, self.name)

    @command
    def operate_saga(
        self, saga_id: str, action: Action, ver: Version, reason: Reason, step: Filter | None = None, *, key: str
    ) -> Saga:
        self.call.require_operator()
        session = self.db.session
        admin.operate(session, self.sagas, saga_id, action, ver, reason, step, self.call.author())
        case = admin.case_of(session, self.sagas, admin.get(session, saga_id))
        return views.dossier(session, case, self.name)
