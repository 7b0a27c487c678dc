"""What an instance says of itself. Data alone; `chassis/announcing.py` sends and receives it."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from chassis.types import Message

UP: Literal["up"] = "up"
DRAINING: Literal["draining"] = "draining"
LEFT: Literal["left"] = "left"

LONGEST_MS = 3_600_000

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00]+$")]
Host = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[^\x00]*$")]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What a database takes: anybody at the broker may announce anything."""


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

    service: Name
    id: Id
    state: Literal["up", "draining", "left"]
    beat: Count
    every_ms: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_MS)]
    version: str
    host: Host
    pid: Count
    started_at: Annotated[datetime, msgspec.Meta(tz=True)]
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
