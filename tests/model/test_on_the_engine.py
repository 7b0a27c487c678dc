"""What the model leaves out of data, tried on the engine itself."""

import msgspec

from chassis.errors import ServiceError
from chassis.saga import Saga, Step
from chassis.saga_store import get
from tests.sagas import Agency, AgencyApi, Trip, arguments, begin, engine, go_on


def goes_elsewhere(trip, payload):
    return msgspec.structs.replace(trip, place=payload)


def learning_saga(**hotel):
    return (
        Saga("learning", version=1, data=Trip, deadline_s=600)
        .stage(Step("hotel", AgencyApi.book_hotel, arguments, undo=AgencyApi.cancel_hotel, **hotel))
        .wait_for("elsewhere", until_s=60, learn=goes_elsewhere)
        .pivot(Step("pay", AgencyApi.pay, arguments))
    )


def refused_after_it_learned(sessions, saga):
    db, agency = sessions("orders"), Agency(pay=[ServiceError("agency.no_money", "No.")])
    sagas = engine(db, agency, saga)
    saga_id = begin(sagas, saga)
    with db.write() as session:
        sagas.signal(session, saga_id, "elsewhere", "Oslo")
    go_on(sagas, 5)
    with db.read() as session:
        return agency, get(session, saga_id).status


def test_what_was_done_is_undone_though_the_saga_has_learned_otherwise(sessions):
    saga = learning_saga(when=lambda trip, results: trip.place == "Rome")
    agency, _ = refused_after_it_learned(sessions, saga)
    assert agency.calls == ["book_hotel", "pay", "cancel_hotel"]


def test_an_undo_gets_the_arguments_of_its_action_though_the_saga_has_learned_otherwise(sessions):
    agency, _ = refused_after_it_learned(sessions, learning_saga())
    assert agency.places == [("book_hotel", "Rome"), ("pay", "Oslo"), ("cancel_hotel", "Rome")]
