"""Reading XML of unknown origin: compressed or not, refused when it is broken or a bomb."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

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
def _opened(path: Path) -> Iterator[IO[bytes]]:
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


def elements(path: Path, *tags: str) -> Iterator[Element]:
    """Each element with one of these tags, children included, in file order; memory stays bounded.

    Raises
    ------
    InputError
        Where the file is absent, unreadable, not well-formed, or declares a document type or entities.
    """
    wanted = frozenset(tags)
    with _opened(path) as stream:
        try:
            depth = 0
            for event, element in iterparse(stream, events=("start", "end"), forbid_dtd=True):
                if event == "start":
                    depth += element.tag in wanted
                elif element.tag in wanted:
                    depth -= 1
                    if depth == 0:
                        yield element
                        element.clear()
                elif depth == 0:
                    element.clear()
        except ParseError as error:
            raise InputError(f"{path}: not well-formed XML: {error}") from None
        except DefusedXmlException:
            raise InputError(
                f"{path}: declares a document type or entities, which SUMO files never need; refused"
            ) from None


def root_tag(path: Path) -> str:
    """Name of the outermost element; the file's prolog is checked on the way.

    Raises
    ------
    InputError
        As for `elements`.
    """
    with _opened(path) as stream:
        try:
            for _, element in iterparse(stream, events=("start",), forbid_dtd=True):
                return str(element.tag)
        except ParseError as error:
            raise InputError(f"{path}: not well-formed XML: {error}") from None
        except DefusedXmlException:
            raise InputError(
                f"{path}: declares a document type or entities, which SUMO files never need; refused"
            ) from None
    raise InputError(f"{path}: is empty")
