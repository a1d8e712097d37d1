"""Credentials of units, by name, from a TOML file that only the service can read.

::

    [street]                    # version 2c
    community = "…"
    write = "…"                 # community of SETs, where it is another one

    [north]                     # version 3, authenticated and encrypted
    user = "greensplit"
    auth_key = "…"
    priv_key = "…"
    auth = "SHA-256"            # or SHA
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from signals.controllers.snmp import Community, User
from signals.errors import InputError

Credentials = Community | User
_OPEN_TO_OTHERS = 0o077


def read_credentials(path: Path | None) -> Mapping[str, Credentials]:
    """The credentials of a file, by name.

    Raises
    ------
    InputError
        Where there is no file, others may read it, or a section isn't as it should be.
    """
    if path is None:
        raise InputError(
            "no credentials for controllers: set GREENSPLIT_SNMP_CREDENTIALS to a TOML file (docs/controllers.md)"
        )
    try:
        mode = path.stat().st_mode
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: can't be read as credentials: {error}") from None
    if mode & _OPEN_TO_OTHERS:
        raise InputError(f"{path}: others may read it; chmod 600 {path}")
    return {name: _credentials(f"{path}: [{name}]", given) for name, given in sections.items()}


def credentials_of(known: Mapping[str, Credentials], name: str) -> Credentials:
    """The credentials of this name.

    Raises
    ------
    InputError
        Where there are none.
    """
    if name not in known:
        raise InputError(
            f"the file of credentials has no section [{name}]; it has {', '.join(known) or 'none'}"
        )
    return known[name]


def _credentials(where: str, given: Any) -> Credentials:
    if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
        raise InputError(f"{where}: expected a section of texts")
    kinds = {
        Community: ({"community"}, {"write"}),
        User: ({"user", "auth_key", "priv_key"}, {"auth"}),
    }
    for kind, (needed, optional) in kinds.items():
        if needed <= set(given) <= needed | optional:
            if kind is Community:
                return Community(given["community"], given.get("write"))
            auth = given.get("auth", "SHA-256")
            if auth not in ("SHA-256", "SHA"):
                raise InputError(f"{where}: auth {auth!r}; expected SHA-256 or SHA")
            if min(len(given["auth_key"]), len(given["priv_key"])) < 8:
                raise InputError(f"{where}: pass phrases have at least 8 letters")
            return User(given["user"], given["auth_key"], given["priv_key"], auth)
    raise InputError(
        f"{where}: has {', '.join(sorted(given)) or 'nothing'}; expected community (and write), or user, auth_key, "
        "priv_key (and auth)"
    )
