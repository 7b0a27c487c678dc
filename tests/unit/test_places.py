"""Who waits for all workers of an instance waits for those too that have no place yet."""

import eventlet
import pytest
from eventlet.event import Event

from chassis.container import Places


def test_all_are_waited_for_when_those_with_a_place_end_at_once_while_others_wait_for_one():
    places, gate, done = Places(2), Event(), []

    def work(number):
        gate.wait()
        done.append(number)

    entering = [eventlet.spawn(places.spawn, work, number) for number in range(5)]
    eventlet.sleep(0)
    assert (places.running(), places.waiting()) == (2, 3)
    waiting = eventlet.spawn(places.waitall)
    eventlet.sleep(0)
    gate.send()
    with eventlet.Timeout(5):
        waiting.wait()
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert all(thread.dead for thread in entering)


@pytest.mark.parametrize("size", [1, 3])
def test_where_nobody_works_nobody_is_waited_for(size):
    with eventlet.Timeout(1):
        Places(size).waitall()
