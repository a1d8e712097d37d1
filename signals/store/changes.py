"""Rows added and changed where another may be in the way: of the same name, or at the same address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from signals.errors import Conflict


class Versioned(Protocol):
    """A row with the version that its ETag shows."""

    version: Any


def flush_new(session: Session, row: Any, taken: str) -> None:
    """Add a row, at once.

    Raises
    ------
    Conflict
        Where another is in its way; `taken` is the message.
    """
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        raise Conflict(taken) from None


def change_row(session: Session, row: Versioned, changes: Mapping[str, Any], taken: str) -> dict[str, Any]:
    """Change fields of a row, raise its version, and give what the fields were before.

    Raises
    ------
    Conflict
        Where another row is in the way; `taken` is the message.
    """
    before = {key: getattr(row, key) for key in changes}
    try:
        with session.begin_nested():
            for key, value in changes.items():
                setattr(row, key, value)
            row.version += 1
            session.flush()
    except IntegrityError:
        raise Conflict(taken) from None
    return before
