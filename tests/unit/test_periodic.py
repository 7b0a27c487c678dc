"""An entry point's interval is a setting, and a wrong one stops the start."""

from types import SimpleNamespace

import pytest
from nameko.exceptions import ConfigurationError

from chassis.periodic import Periodic


def of(**config):
    timer = Periodic("tick_s")
    timer.container = SimpleNamespace(config=config)
    return timer


def test_the_interval_is_what_the_setting_says():
    timer = of(tick_s=2.5)
    timer.setup()
    assert timer.interval == 2.5


@pytest.mark.parametrize("config", [{}, {"tick_s": 0}, {"tick_s": -1}, {"tick_s": "often"}])
def test_a_missing_or_impossible_interval_is_named(config):
    with pytest.raises(ConfigurationError, match=r"config\.yaml needs tick_s"):
        of(**config).setup()
