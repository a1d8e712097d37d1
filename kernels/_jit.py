"""The one place that imports numba: compiler settings, cache folder, switches.

Two environment variables are read once, at import:

``GREENSPLIT_JIT=0``
    Kernels stay plain Python functions and numba is not imported: for coverage and for a debugger.
``GREENSPLIT_BOUNDSCHECK=1``
    Compiled kernels check every index, which is slow and is meant for tests.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

JIT_ENABLED = os.environ.get("GREENSPLIT_JIT", "1") != "0"
BOUNDS_CHECK = os.environ.get("GREENSPLIT_BOUNDSCHECK", "0") not in ("", "0")


def source_hash(numba_version: str, bounds_check: bool) -> str:
    """Name what compiled code depends on, in 16 hexadecimal digits.

    numba looks only at the file of the function it compiles. A kernel that calls one from another file would
    run that file's old machine code after an edit; a folder named after all the files can't hold any. The
    bounds-check flag is in the name because a warm cache ignores it.
    """
    digest = hashlib.sha256(f"{numba_version} {bounds_check}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder(name: str) -> Path:
    """Make, or find again, a folder `name` that this process may write compiled kernels to.

    The user's cache comes first ($XDG_CACHE_HOME, else ~/.cache), the folder for temporary files second.
    Cached code is executed, so a folder in the shared temporary directory is used only if it belongs to this
    user.
    """
    candidates = []
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if Path(xdg).is_absolute():
        candidates.append(Path(xdg) / "greensplit")
    try:
        candidates.append(Path.home() / ".cache" / "greensplit")
    except RuntimeError:  # no HOME, and a user unknown to the system
        pass
    candidates.append(Path(tempfile.gettempdir()) / f"greensplit-{os.getuid()}")
    for base in candidates:
        folder = base / name
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and base.stat().st_uid == os.getuid():
            return folder
    return Path(tempfile.mkdtemp(prefix="greensplit-"))


if JIT_ENABLED:
    import numba

    CACHE_FOLDER = cache_folder(f"kernels-{source_hash(numba.__version__, BOUNDS_CHECK)}")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function at its first call, or leave it alone when ``GREENSPLIT_JIT=0``.

    Division by zero gives infinity or NaN as in numpy; arithmetic keeps its order (no fastmath), so the same
    input gives the same bits; the GIL is released.
    """
    if not JIT_ENABLED:
        return function
    # numba fixes a function's cache when it meets the function, and forgets the setting when somebody changes
    # a NUMBA_ variable, hence once a function.
    numba.config.CACHE_DIR = str(CACHE_FOLDER)
    compiled = numba.njit(
        cache=True, error_model="numpy", nogil=True, fastmath=False, boundscheck=BOUNDS_CHECK
    )(function)
    return cast("Callable[P, R]", compiled)


def part(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a piece of a kernel, which only kernels call and which allocates nothing, into its callers.

    Arrays and tuples are handed on without counting references, which numba otherwise does, atomically, at most
    calls and looks into a tuple: the kernel that was called from Python holds them all.
    """
    if not JIT_ENABLED:
        return function
    numba.config.CACHE_DIR = str(CACHE_FOLDER)
    compiled = numba.njit(
        cache=True,
        error_model="numpy",
        nogil=True,
        fastmath=False,
        boundscheck=BOUNDS_CHECK,
        forceinline=True,
        _nrt=False,
    )(function)
    return cast("Callable[P, R]", compiled)


def plain(function: Callable[P, R]) -> Callable[P, R]:
    """Return the Python function under a kernel, for tests that compare the two."""
    return cast("Callable[P, R]", getattr(function, "py_func", function))
