"""What an XML file makes SUMO read and write, and whether that could do harm.

An output called ``host:80`` is a connection to that host; ``${HOME}`` in a value comes back in an error message; a few
elements of additional files write beside the process rather than beside the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.sax import ContentHandler, SAXParseException
from xml.sax.xmlreader import AttributesImpl

from defusedxml import sax
from defusedxml.common import DefusedXmlException

from signals.errors import InputError
from signals.formats.files import open_unpacked
from signals.formats.sumo.traffic_options import CONFIG_ROOTS

_NOTHING = frozenset(("", "NUL", "nul", "/dev/null"))
"""Names by which an output is thrown away."""

_STREAMS = frozenset(("-", "stdout", "STDOUT", "stderr", "STDERR"))
"""Names by which SUMO writes to where the process does."""

_READS = frozenset(
    (("include", "href"), ("variableSpeedSign", "file"), ("calibrator", "file"), ("rerouter", "file"))
)
"""Elements and their attributes that name a file which SUMO reads."""

_TELLING = ("file", "File", "output", "dest", "href", "chemaLocation")
"""Ends of the names of attributes whose value may be a file."""

_FILING_DEVICES = frozenset(("has.ssm.device", "has.fcd-replay.device", "has.example.device"))
"""Parameters that give a vehicle a device which writes without being told where, or reads."""

_FALSE = frozenset(("false", "0", "no", "off", "-", "f"))

UNREADABLE_NAME = re.compile(r"[:$%~\\;,\x00-\x1f\x7f]")
"""Characters of a file name that SUMO takes for more than a name."""

_SCHEMA_HOSTS = ("sumo.dlr.de", "sumo-sim.org", "sumo.sf.net", "sumo.sourceforge.net")
_ENCODINGS = ("utf-8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "windows-1252")
_MOST_LEVELS = 100


@dataclass(frozen=True)
class NamedFiles:
    """An XML file's outermost element, and the files that it reads and writes, as it names them.

    `refusal` says what in it could do harm if SUMO read it; empty where nothing could.
    """

    root: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    refusal: str = ""


def looks_like_xml(start: bytes) -> bool:
    """Whether these first bytes are of an XML file."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def is_xml(path: Path) -> bool:
    """Whether a file, packed or not, is XML."""
    if path.stat().st_size == 0:
        return False
    with open_unpacked(path) as stream:
        return looks_like_xml(stream.read(256))


def named_files(path: Path, shown: str) -> NamedFiles:
    """Read an XML file to its end as SUMO would; refuses what harms whoever parses it."""
    with open_unpacked(path) as stream:
        start = stream.read(512)
    declared = re.search(rb"""<\?xml[^>]*?encoding\s*=\s*["']([^"']*)""", start)
    if declared and declared[1].decode("ascii", "replace").lower() not in _ENCODINGS:
        raise InputError(f"{shown}: is encoded as {declared[1].decode('ascii', 'replace')}; save it as UTF-8")
    reader = _Reader(shown)
    with open_unpacked(path) as stream:
        try:
            sax.parse(stream, reader, forbid_dtd=True)
        except SAXParseException as error:
            raise InputError(
                f"{shown}: not well-formed XML: {error.getMessage()}: line {error.getLineNumber()}, "
                f"column {error.getColumnNumber()}"
            ) from None
        except DefusedXmlException:
            raise InputError(
                f"{shown}: declares a document type or entities, which SUMO files never need; refused"
            ) from None
        except (LookupError, ValueError) as error:
            raise InputError(f"{shown}: can't be read as XML: {error}") from None
    return NamedFiles(reader.root, tuple(reader.reads), tuple(dict.fromkeys(reader.writes)), reader.refusal)


class _Reader(ContentHandler):
    """Collects the files that elements name, by the names that SUMO's parser sees: prefixes included."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file
        self.root = ""
        self.level = 0
        self.reads: list[str] = []
        self.writes: list[str] = []
        self.refusal = ""

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self.level += 1
        if self.level > _MOST_LEVELS:
            raise InputError(f"{self.file}: nests elements more than {_MOST_LEVELS} deep; refused")
        self.root = self.root or name
        if self.root in CONFIG_ROOTS:
            # Options of the .sumocfg are judged by `traffic_options`. As any other file it would be read by
            # SUMO as if its outermost element had another name.
            self._refuse("is a configuration, where routes, a network or the like are needed")
            return
        if name == "param":
            self._param(attrs.get("key", ""), attrs.get("value", ""))
            return
        for key, value in attrs.items():
            if key.endswith(_TELLING) or ".." in value or "${" in value:
                self._attribute(name, key, value, attrs)

    def endElement(self, name: str) -> None:
        self.level -= 1

    def _attribute(self, name: str, key: str, value: str, attrs: AttributesImpl) -> None:
        called = f" id={shortened(attrs['id'])}" if "id" in attrs.getNames() else ""
        where = f"<{name}{called}> {key}"
        if key.endswith("chemaLocation"):
            self._schema(value)
        elif (name, key) in _READS:
            if value not in _NOTHING or name == "include":
                self._read(where, value)
        elif key == "edgesFile" or (name, key) == ("calibrator", "output"):
            # SUMO 1.28 takes these relative to where it was started, not to the file.
            if value not in _NOTHING:
                self._refuse(f"{where} {shortened(value)} isn't looked for in the bundle; leave it out")
        elif key in ("imgFile", "osgFile"):
            # Only SUMO's window shows pictures.
            if value in _STREAMS or value.startswith(("/", "~")) or UNREADABLE_NAME.search(value):
                self._refuse(f"{where} {shortened(value)} leads out of the bundle; leave it out")
            self._other(where, value)
        elif (key.endswith(("file", "File")) and not key.endswith("Profile")) or (
            key == "output" or (name, key) == ("timedEvent", "dest")
        ):
            self._write(where, value)
        else:
            self._other(where, value)

    def _param(self, key: str, value: str) -> None:
        low = key.lower()
        where = f"<param key={shortened(key)}> value"
        if low in _FILING_DEVICES:
            if value.strip().lower() not in _FALSE:
                self._refuse(
                    f"{where} {shortened(value)}: the device writes or reads files of its own; leave it out"
                )
        elif low.startswith(("device.", "person-device.")) and ("file" in low or "output" in low):
            if value not in _NOTHING:
                self._refuse(f"{where} {shortened(value)} isn't looked for in the bundle; leave it out")
        elif low.endswith(("file", "output")) and not low.endswith("profile"):
            self._write(where, value)
        else:
            self._other(where, value)

    def _other(self, where: str, value: str) -> None:
        # The id of a vehicle becomes the name of a file in some of SUMO's outputs.
        if ".." in re.split(r"[/\\]", value) or "${" in value:
            self._refuse(f"{where} {shortened(value)} looks like a path; name it otherwise")

    def _read(self, where: str, value: str) -> None:
        if not value or value.startswith(("/", "~")) or UNREADABLE_NAME.search(value):
            self._refuse(
                f"{where} {shortened(value)} leads out of the bundle, or is no file name; "
                "name a file in it by a relative path"
            )
        else:
            self.reads.append(value)

    def _write(self, where: str, value: str) -> None:
        if value in _NOTHING or value.lower() in ("true", "false"):
            return
        if value in _STREAMS or value.startswith(("/", "~")) or UNREADABLE_NAME.search(value):
            self._refuse(
                f"{where} {shortened(value)} leads out of the bundle, or is no file name; "
                "name a file by a relative path, or NUL to write nothing"
            )
        else:
            self.writes.append(value)

    def _schema(self, value: str) -> None:
        # With validation on, SUMO fetches a schema from wherever it is said to be.
        for part in value.split():
            host = re.match(r"https?://(?:www\.)?([^/:@]+)/", part)
            if host is None or host[1] not in _SCHEMA_HOSTS:
                self._refuse(f"schemaLocation {shortened(part)} isn't on SUMO's own sites; leave it out")

    def _refuse(self, why: str) -> None:
        self.refusal = self.refusal or f"{self.file}: {why}"


def shortened(value: str) -> str:
    """A value as a message quotes it."""
    return repr(value if len(value) <= 80 else value[:80] + "…")
