"""Structured logs by structlog: JSON lines to a file or a pipe, readable ones on a terminal.

config.yaml's LOGGING names `formatter` below, so that nameko's own lines come out the same way.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_service: dict[str, str] = {}
_PASSWORD = re.compile(r"(\w+://[^:/\s]*:)[^@/\s]+@")


def bind_service(name: str) -> None:
    """Every later line of this process carries the service's name."""
    _service["service"] = name


def _add_service(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.update(_service)
    return event


def _mask_passwords(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str) and "://" in value:
            event[name] = _PASSWORD.sub(r"\1***@", value)
    return event


def formatter() -> logging.Formatter:
    """The formatter of every handler in config.yaml."""
    on_terminal = sys.stderr.isatty()
    renderer: Any = structlog.processors.JSONRenderer()
    if on_terminal:
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _add_service,
        _mask_passwords,  # last: a traceback may hold one too
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        foreign_pre_chain=shared,
    )
