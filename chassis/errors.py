"""What can become of a call, besides a result.

    Failure
      ServiceError      refused: the service decided, nothing was changed; `code` says why
      OutcomeUnknown    anything may have happened: time ran out, a crash, a bug, a lost broker
        Unavailable     never sent, so certain to have changed nothing

Only an unknown outcome is worth a retry, and only with the same key.
"""

from typing import Any

from nameko.exceptions import deserialize_to_instance


class Failure(Exception):
    """Base of everything that a call can end in besides a result."""


@deserialize_to_instance
class ServiceError(Failure):
    """A refusal. `code` is `service.reason` and is listed in the method's contract; `message` says the mend.

    Crosses the wire as its three arguments; a client without this class sees nameko's RemoteError.
    """

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(code, message, details or {})
        self.code, self.message, self.details = code, message, details or {}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class OutcomeUnknown(Failure):
    """Nobody can say whether it happened. `target` is the service or company that was asked.

    `missing` is who was not there, where that is the reason: the target, or somebody behind it.
    """

    def __init__(self, target: str, reason: str, missing: str | None = None) -> None:
        super().__init__(target, reason, missing)
        self.target, self.reason, self.missing = target, reason, missing

    def __str__(self) -> str:
        return f"{self.target}: {self.reason}"


class Unavailable(OutcomeUnknown):
    """The request was certainly not sent: nobody serves `target`, or its breaker is open, or the broker is away."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target, reason, missing=target)
