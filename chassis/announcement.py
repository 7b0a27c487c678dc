"""What an instance says of itself. Data alone; `chassis/announcing.py` sends and receives it."""

from datetime import datetime
from typing import Any

from chassis.types import Message

UP, DRAINING, LEFT = "up", "draining", "left"


class Tally(Message):
    """One method since its instance started. `ms` is the time of all calls together."""

    name: str
    ok: int = 0
    refused: int = 0
    failed: int = 0
    ms: int = 0


class Binding(Message):
    """What the broker has to know for an instance to get its messages."""

    queue: str
    exchange: str
    key: str


class Announcement(Message):
    """What an instance is, as it says itself. `beat` counts its announcements; the next one comes in `every_ms`.

    `contract` is the fingerprint of what it promises, "" for one that promises nothing. `settings` have their secrets
    masked; the digest is of the settings as they are. `sagas` are `name/version`, `commands` what those send.
    """

    service: str
    id: str
    state: str
    beat: int
    every_ms: int
    version: str
    host: str
    pid: int
    started_at: datetime
    slot: str = ""
    contract: str = ""
    settings: dict[str, Any] = {}
    settings_digest: str = ""
    workers: int = 0
    prefetch: int = 0
    metrics: str = ""
    methods: list[Tally] = []
    events_in: list[str] = []
    events_out: list[str] = []
    sagas: list[str] = []
    commands: list[str] = []
    bindings: list[Binding] = []
