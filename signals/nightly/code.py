"""Which code a night ran: what was found by other code is found anew."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from signals import __version__

_SOURCES = ("kernels", "signals")
_LIBRARIES = ("numpy", "numba", "scipy", "ortools", "eclipse-sumo")
"""Others' code that decides what comes out, down to the last bit."""


@lru_cache(maxsize=1)
def code_digest() -> str:
    """The release, and a hash of all sources and of the releases of the libraries that compute, `0.1.0-…`."""
    seen = hashlib.sha256()
    for name in _LIBRARIES:
        seen.update(f"{name} {_release(name)}\n".encode())
    root = Path(__file__).resolve().parents[2]
    for package in _SOURCES:
        for path in sorted((root / package).rglob("*.py")):
            seen.update(f"{path.relative_to(root).as_posix()}\n".encode())
            seen.update(path.read_bytes())
    return f"{__version__}-{seen.hexdigest()[:16]}"


def _release(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def digest_of(*parts: object) -> str:
    """Hash of values whose `repr` says all about them, or of bytes, 32 hex digits."""
    seen = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        seen.update(f"{len(data)}:".encode())
        seen.update(data)
    return seen.hexdigest()[:32]
