"""Files as such: opened whether they are packed or not, written whole or not at all."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from signals.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
MAX_UNPACKED_BYTES = 4 << 30
"""A compressed file that unpacks to more is taken for a bomb."""


class _Bounded(gzip.GzipFile):
    """A gzip stream that stops when it has unpacked more than any real scenario holds."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.tell() > MAX_UNPACKED_BYTES:
            raise InputError(f"{self.name}: unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB; refused")
        return data


@contextmanager
def open_unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked if it is gzipped, whatever its name says.

    Raises
    ------
    InputError
        Where the file is absent, empty or a folder, or can't be read to its end.
    """
    try:
        with path.open("rb") as raw:
            start = raw.read(2)
        if not start:
            raise InputError(f"{path}: is empty")
        packed = start == GZIP_MAGIC
        with _Bounded(path) if packed else path.open("rb") as stream:
            yield cast(IO[bytes], stream)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, a file is needed") from None
    except PermissionError:
        raise InputError(f"{path}: can't be read (permission denied)") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: can't be read: {error}") from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file under another name, then rename it, so that no half of it is ever seen; text as UTF-8.

    Raises
    ------
    InputError
        Where the folder doesn't exist or can't be written to.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".greensplit-")
    except OSError as error:
        raise InputError(f"{path}: can't be written: {error.strerror}; does the folder exist?") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(name).unlink()
        raise InputError(f"{path}: can't be written: {error.strerror}") from None
