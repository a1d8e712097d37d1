"""Reading XML of unknown origin: compressed or not, refused when it is broken or a bomb."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from signals.errors import InputError
from signals.formats.files import open_unpacked


def elements(path: Path, *tags: str) -> Iterator[Element]:
    """Each element with one of these tags, children included, in file order; memory stays bounded.

    Raises
    ------
    InputError
        Where the file is absent, unreadable, not well-formed, or declares a document type or entities.
    """
    wanted = frozenset(tags)
    with open_unpacked(path) as stream:
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
    with open_unpacked(path) as stream:
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
