"""What takes seconds of computing and is made once."""

import subprocess
import sys

import pytest
from eventlet import patcher

from chassis.errors import Unavailable
from chassis.offhub import Prepared


def test_who_asks_early_waits_as_long_as_they_say() -> None:
    prepared, made = Prepared[str]("it"), patcher.original("threading").Event()
    prepared.prepare(lambda: "made" if made.wait(10) else "never")
    with pytest.raises(Unavailable):
        prepared.get(0.01)
    made.set()
    assert prepared.get() == "made"


def test_what_went_wrong_is_said_to_whoever_asks() -> None:
    prepared = Prepared[str]("it")
    prepared.prepare(lambda: {}["nothing"])
    for _ in range(2):
        with pytest.raises(KeyError, match="nothing"):
            prepared.get()


def test_a_process_that_ends_does_not_wait_for_it() -> None:
    program = """if True:
        import eventlet
        from chassis.offhub import Prepared
        Prepared("it").prepare(lambda: eventlet.patcher.original("time").sleep(60))
        eventlet.sleep(0.1)
    """
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=20).returncode == 0
