"""What is logged and how: a line of JSON an entry, or plain text for people at a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from signals.store.people import KEY_MARK

SECRETS = frozenset({"authorization", "key", "password", "secret", "token"})


def configure_logs(level: str, *, json: bool = True) -> None:
    """Log to the error stream, the libraries' own entries included; nothing that looks like a key gets through."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # the doorkeeper logs requests already, with their ids
    logging.getLogger("uvicorn.access").disabled = True
    for chatty in ("alembic", "distributed", "matplotlib", "numba"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def without_secrets(_logger: Any, _method: str, entry: Any) -> Any:
    """The entry with every field that is named after a secret, or holds a key, blacked out."""
    for name, value in entry.items():
        if name.lower() in SECRETS or (isinstance(value, str) and KEY_MARK in value):
            entry[name] = "***"
    return entry
