"""What services say of what they keep about a customer. msgspec alone, no I/O, so that contracts can speak of it."""

from typing import Annotated, Any

import msgspec

from chassis.types import Message

PersonId = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[\w-]+$")]
PersonEmail = Annotated[str, msgspec.Meta(max_length=254)]
RecordLimit = Annotated[int, msgspec.Meta(ge=1, le=500)]
Cursor = Annotated[str, msgspec.Meta(max_length=1000)]


class Person(Message):
    """A customer by what services know them by. `email` is the one of now; rows may hold an older one."""

    customer_id: PersonId
    email: PersonEmail


class Record(Message):
    """One thing that is kept. `data` are plain JSON values; times are ISO 8601 in UTC, amounts in minor units."""

    kind: str
    data: dict[str, Any]


class PersonalData(Message):
    """A page of it. `next_after` is None on the last."""

    items: list[Record]
    next_after: str | None


class Erased(Message):
    """How many rows of each kind were removed, or had what tells of the person taken out of them."""

    rows: dict[str, int]
