"""The trace id of a request: the client's, if it brings one that can be trusted in a log line."""

import re
import uuid
from collections.abc import Mapping
from typing import Any

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def trace_id_of(environ: Mapping[str, Any]) -> str:
    """From `traceparent` (W3C), else `X-Request-Id`, else a new one. A malformed header is as good as none."""
    if found := _TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", "")):
        return found[1]
    if found := _REQUEST_ID.fullmatch(environ.get("HTTP_X_REQUEST_ID", "")):
        return found[0]
    return uuid.uuid4().hex
