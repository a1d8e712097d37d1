"""An uploaded scenario: unpacked without trust, and packed so that it can be uploaded.

What SUMO reads can do harm. Options of a .sumocfg write to any path, load states, run scripts and listen on
ports; an output called ``host:80`` is a connection to that host; ``${HOME}`` in a value comes back in an error
message; a few elements of additional files write beside the process rather than beside the file. So the
.sumocfg is written anew from a list of options that change nothing but traffic, and every file of the scenario
is read before SUMO gets to see it.
"""

from __future__ import annotations

import io
import re
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn
from xml.etree.ElementTree import Element, SubElement, indent, tostring
from xml.sax import ContentHandler, SAXParseException
from xml.sax.xmlreader import AttributesImpl

from defusedxml import sax
from defusedxml.common import DefusedXmlException

from signals.errors import InputError
from signals.formats.files import GZIP_MAGIC, open_unpacked
from signals.formats.sumo.config import Scenario, read_scenario, scenario_of
from signals.formats.sumo.xml import elements, root_tag

NET_NAME = "network.net.xml"
"""Name given to a network that came without one."""

MIB = 1 << 20

_SYNONYMS = {
    "net": "net-file",
    "n": "net-file",
    "routes": "route-files",
    "r": "route-files",
    "additional": "additional-files",
    "a": "additional-files",
    "b": "begin",
    "e": "end",
    "s": "route-steps",
    "carfollow.model": "default.carfollowmodel",
    "railsignal.moving-block": "railsignal-moving-block",
    "meso.ignore-lanes.by-vclass": "meso-ignore-lanes-by-vclass",
    "taxi.vclasses": "device.taxi.vclasses",
    "with-taz": "device.rerouting.with-taz",
    "device.routing.with-taz": "device.rerouting.with-taz",
    **{
        f"{whose}device.routing.{what}": f"{whose}device.rerouting.{what}"
        for whose in ("", "person-")
        for what in ("period", "pre-period", "adaptation-weight", "adaptation-steps", "adaptation-interval")
    },
    **{
        f"device.{device}.knownveh": f"device.{device}.explicit"
        for device in ("rerouting", "bluelight", "driverstate", "glosa", "taxi")
    },
}

_INPUTS = ("net-file", "route-files", "additional-files")

_PROCESSING = """
begin end step-length junction-taz
step-method.ballistic extrapolate-departpos lateral-resolution route-steps no-internal-links
ignore-junction-blocker ignore-route-errors ignore-accidents
collision.action intermodal-collision.action collision.stoptime intermodal-collision.stoptime
collision.check-junctions collision.check-junctions.mingap collision.mingap-factor
keep-after-arrival max-num-vehicles max-num-persons scale scale-suffix
time-to-teleport time-to-teleport.highways time-to-teleport.highways.min-speed time-to-teleport.disconnected
time-to-teleport.remove time-to-teleport.remove-constraint time-to-teleport.ride time-to-teleport.bidi
time-to-teleport.railsignal-deadlock
waiting-time-memory startup-wait-threshold max-depart-delay sloppy-insert eager-insert emergency-insert
insertion-checks random-depart-offset lanechange.duration lanechange.overtake-right
tls.all-off tls.actuated.jam-threshold tls.actuated.detector-length tls.delay_based.detector-range
tls.yellow.min-decel railsignal-moving-block railsignal.moving-block.default-classes
railsignal.moving-block.max-dist railsignal.max-block-length railsignal.default-classes
slope-centered time-to-impatience
default.departspeed default.departlane default.action-step-length default.carfollowmodel default.speeddev
default.emergencydecel parking.maneuver use-stop-ended use-stop-started
pedestrian.model pedestrian.timegap-crossing
pedestrian.striping.stripe-width pedestrian.striping.dawdling pedestrian.striping.mingap-to-vehicle
pedestrian.striping.jamtime pedestrian.striping.jamtime.crossing pedestrian.striping.jamtime.narrow
pedestrian.striping.jamfactor pedestrian.striping.reserve-oncoming
pedestrian.striping.reserve-oncoming.junctions pedestrian.striping.reserve-oncoming.max
pedestrian.striping.legacy-departposlat pedestrian.striping.walkingarea-detail
ride.stop-tolerance mapmatch.distance mapmatch.junctions mapmatch.taz
weights.turnaround-penalty weights.reversal-penalty persontrip.walk-opposite-factor
"""

_ROUTING = """
routing-algorithm weights.random-factor weights.random-factor.dynamic weights.minor-penalty
weights.tls-penalty weights.priority-factor weights.separate-turns
persontrip.walkfactor persontrip.transfer.car-walk persontrip.transfer.taxi-walk persontrip.transfer.walk-taxi
persontrip.default.group persontrip.taxi.waiting-time persontrip.ride-public-line railway.max-train-length
device.rerouting.probability device.rerouting.explicit device.rerouting.deterministic device.rerouting.period
device.rerouting.pre-period device.rerouting.adaptation-weight device.rerouting.adaptation-steps
device.rerouting.adaptation-interval device.rerouting.threshold.factor device.rerouting.threshold.constant
device.rerouting.invalidation device.rerouting.with-taz device.rerouting.mode device.rerouting.synchronize
device.rerouting.railsignal device.rerouting.bike-speeds
person-device.rerouting.probability person-device.rerouting.explicit person-device.rerouting.deterministic
person-device.rerouting.period person-device.rerouting.mode person-device.rerouting.scope
"""

_DEVICES = """
device.bluelight.probability device.bluelight.explicit device.bluelight.deterministic
device.bluelight.reactiondist device.bluelight.mingapfactor
device.driverstate.probability device.driverstate.explicit device.driverstate.deterministic
device.driverstate.initialAwareness device.driverstate.errorTimeScaleCoefficient
device.driverstate.errorNoiseIntensityCoefficient device.driverstate.speedDifferenceErrorCoefficient
device.driverstate.headwayErrorCoefficient device.driverstate.freeSpeedErrorCoefficient
device.driverstate.speedDifferenceChangePerceptionThreshold
device.driverstate.headwayChangePerceptionThreshold device.driverstate.minAwareness
device.driverstate.maximalReactionTime
device.glosa.probability device.glosa.explicit device.glosa.deterministic device.glosa.range
device.glosa.max-speedfactor device.glosa.min-speed device.glosa.add-switchtime device.glosa.use-queue
device.glosa.override-safety device.glosa.ignore-cfmodel
device.taxi.probability device.taxi.explicit device.taxi.deterministic device.taxi.dispatch-algorithm
device.taxi.dispatch-period device.taxi.dispatch-keep-unreachable device.taxi.idle-algorithm
device.taxi.vclasses
"""

_MESOSCOPIC = """
mesosim meso-ltm meso-edgelength meso-tauff meso-taufj meso-taujf meso-taujj meso-jam-threshold
meso-multi-queue meso-lane-queue meso-ignore-lanes-by-vclass meso-junction-control
meso-junction-control.limited meso-tls-penalty meso-tls-flow-penalty meso-minor-penalty meso-overtaking
meso-recheck meso-interpolate-pos
"""

OPTIONS_KEPT = frozenset((*_PROCESSING.split(), *_ROUTING.split(), *_DEVICES.split(), *_MESOSCOPIC.split()))
"""Options of a .sumocfg that change traffic and touch no file, port, thread or process."""

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

_UNREADABLE_NAME = re.compile(r"[:$%~\\;,\x00-\x1f\x7f]")
"""Characters of a file name that SUMO takes for more than a name."""

_CONFIG_ROOTS = ("configuration", "sumoConfiguration")
_SCHEMA_HOSTS = ("sumo.dlr.de", "sumo-sim.org", "sumo.sf.net", "sumo.sourceforge.net")
_ENCODINGS = ("utf-8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "windows-1252")
_MOST_LEVELS = 100
_MOST_SHOWN = 5
_MOST_INCLUDED = 1000
_VALIDATION = ("xml-validation", "xml-validation.net", "xml-validation.routes")


@dataclass(frozen=True)
class BundleLimits:
    """How much an uploaded bundle may hold.

    `entries` counts files and folders of the archive, `total_bytes` all that it unpacks to, gzipped files inside
    it included, `depth` the folders that a file may lie in. `ratio` is unpacked over packed size, and
    holds for whatever unpacks to more than `free_bytes`.
    """

    entries: int = 200
    total_bytes: int = 1 << 30
    depth: int = 8
    ratio: float = 200.0
    free_bytes: int = 16 * MIB

    def __post_init__(self) -> None:
        if min(self.entries, self.total_bytes, self.depth, self.ratio, self.free_bytes) <= 0:
            raise ValueError(f"limits of a bundle are above 0, not {self}")


DEFAULT_LIMITS = BundleLimits()


@dataclass(frozen=True)
class Bundle:
    """A scenario that came as one file. `remarks` says what of it was left out, and why."""

    scenario: Scenario
    remarks: tuple[str, ...] = field(default=())


def unpack_bundle(content: bytes, folder: Path, *, limits: BundleLimits = DEFAULT_LIMITS) -> Bundle:
    """The scenario of an uploaded file, with nothing left in it that could harm when SUMO runs it.

    The file is a zip of one .sumocfg with all that it names, or a network (.net.xml) alone: plain, gzipped
    or in a zip. Its first bytes decide what it is. The same bytes give the same `Scenario.content_hash`, in
    whatever folder they are unpacked.

    Parameters
    ----------
    folder
        Made where it is absent; must be empty. It is left empty where the bundle is refused.

    Raises
    ------
    InputError
        Where the bundle is broken, too large, or could do harm; the message names entry and figure.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    if any(folder.iterdir()):
        raise InputError(f"{folder}: isn't empty; a bundle is unpacked into an empty folder")
    try:
        if content.startswith(b"PK"):
            return _unpack_zip(content, folder, limits)
        return _unpack_net(content, folder, limits)
    except InputError as error:
        _empty(folder)
        # A message must not tell the sender where on the server the file lay.
        raise InputError(str(error).replace(f"{folder}/", "")) from None
    except BaseException:
        _empty(folder)
        raise


def bundle_of(scenario: Scenario) -> bytes:
    """A zip of all files of a scenario, included ones too, that `unpack_bundle` takes; same files, same bytes.

    Files outside the folder of the .sumocfg are put into folders of their own inside, and the paths of the
    .sumocfg adjusted. A scenario without .sumocfg gets one, unless it is a network alone. Options that
    `unpack_bundle` would drop are dropped here.

    Raises
    ------
    InputError
        Where a file is absent or broken, or an included file would not be found from its new place.
    """
    base = (scenario.config or scenario.net).parent
    placed: dict[Path, PurePosixPath] = {}
    outer: dict[Path, PurePosixPath] = {}

    def place(path: Path) -> PurePosixPath:
        for root, at in ((base, PurePosixPath()), *outer.items()):
            if path.is_relative_to(root):
                return at / path.relative_to(root).as_posix()
        outer[path.parent] = PurePosixPath(f"outside{len(outer) + 1}")
        return outer[path.parent] / path.name

    waiting = [scenario.net, *scenario.routes, *scenario.additional]
    while waiting:
        path = waiting.pop(0)
        if path in placed:
            continue
        placed[path] = place(path)
        found = _inspect(path, str(path))
        if found.refusal:
            raise InputError(found.refusal)
        for name in found.reads:
            target = (path.parent / name).resolve()
            if _joined(placed[path].parent, name) != place(target):
                raise InputError(
                    f"{path}: reads {name!r}, which lies where the bundle can't follow; "
                    "move it into the folder of the .sumocfg and name it relatively"
                )
            waiting.append(target)

    packed: dict[str, bytes] = {}
    for path, at in placed.items():
        if at.as_posix() in packed:
            raise InputError(f"{path}: two files of the scenario would be called {at}; rename one")
        packed[at.as_posix()] = path.read_bytes()
    window = _window(scenario)
    if scenario.config or scenario.routes or scenario.additional or window:
        name = scenario.config.name if scenario.config else f"{scenario.name}.sumocfg"
        options = {**(traffic_options(scenario.config)[0] if scenario.config else {}), **window}
        options["begin"] = f"{scenario.begin_s:.15g}"
        if scenario.end_s is None:
            options.pop("end", None)
        files = {
            "net-file": [placed[scenario.net]],
            "route-files": [placed[path] for path in scenario.routes],
            "additional-files": [placed[path] for path in scenario.additional],
        }
        packed[name] = config_xml(options, files)
    return _zip(packed)


# ------------------------------------------------------------------------------------------ out of the archive


@dataclass
class _Budget:
    """How many bytes a bundle has unpacked to so far, against its limits and its own size."""

    limits: BundleLimits
    packed_bytes: int
    used: int = 0

    def spend(self, entry: str, count: int) -> None:
        self.used += count
        if self.used > self.limits.total_bytes:
            raise InputError(
                f"{entry}: with it the bundle unpacks to more than "
                f"{self.limits.total_bytes / MIB:,.1f} MiB, the most allowed; leave out what isn't needed"
            )

    def check_ratio(self, entry: str, unpacked: int, packed: int) -> None:
        if unpacked > self.limits.free_bytes and unpacked > self.limits.ratio * max(packed, 1):
            raise InputError(
                f"{entry}: unpacks to more than {self.limits.ratio:g} times its size ({packed:,} bytes to over "
                f"{unpacked / MIB:,.0f} MiB), as no traffic data does; refused"
            )


def _unpack_net(content: bytes, folder: Path, limits: BundleLimits) -> Bundle:
    budget = _Budget(limits, len(content))
    target = folder / NET_NAME
    if content.startswith(GZIP_MAGIC):
        with target.open("wb") as out:
            for block in _gunzip("the upload", io.BytesIO(content), len(content), budget):
                out.write(block)
        with target.open("rb") as stream:
            start = stream.read(256)
        what = "the gzipped file"
    else:
        budget.spend("the upload", len(content))
        target.write_bytes(content)
        start, what = content[:256], "the file"
    if not _looks_like_xml(start):
        raise InputError(
            f"{what} is neither a zip nor a SUMO network (it begins with {start[:8]!r}); upload a zip of the "
            ".sumocfg with all its files, or a .net.xml, plain or gzipped"
        )
    found = _inspect(target, NET_NAME)
    if found.root != "net":
        raise InputError(
            f"{what} is no SUMO network: its outermost element is <{found.root}>, not <net>; "
            "to upload more than a network, zip the .sumocfg with all its files"
        )
    _used([NET_NAME], {NET_NAME: found}, [NET_NAME])
    return Bundle(scenario_of(target, ()))


def _unpack_zip(content: bytes, folder: Path, limits: BundleLimits) -> Bundle:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = _entries(archive, limits)
            budget = _Budget(limits, len(content))
            for info, name in names:
                _write_entry(archive, info, folder / name, budget)
    except InputError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        LookupError,
        ValueError,
        OverflowError,
    ) as error:
        raise InputError(f"the zip is broken and can't be unpacked: {error}; zip it anew") from None
    return _settle(folder, [name for _, name in names])


def _entries(archive: zipfile.ZipFile, limits: BundleLimits) -> list[tuple[zipfile.ZipInfo, str]]:
    """The files of the archive, each with its checked name; none is unpacked yet."""
    infos = archive.infolist()
    if len(infos) > limits.entries:
        raise InputError(
            f"the zip holds {len(infos)} entries, at most {limits.entries} are allowed; "
            "leave out what isn't needed"
        )
    files: list[tuple[zipfile.ZipInfo, str]] = []
    seen: dict[str, str] = {}
    for info in infos:
        name = _entry_name(info, limits)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFDIR if info.orig_filename.endswith("/") else stat.S_IFREG):
            what = "a symbolic link" if kind == stat.S_IFLNK else f"a special file (type {kind:#o})"
            raise InputError(f"{name}: is {what}; put the file itself into the zip")
        if info.flag_bits & 0x41:
            raise InputError(f"{name}: is encrypted; zip it without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{name}: is compressed by method {info.compress_type}; zip it with deflate")
        same = _folded(name)
        if same in seen:
            raise InputError(f"{name}: the zip also holds {seen[same]}, the same name; rename one")
        seen[same] = name
        if not info.orig_filename.endswith("/") and not _is_litter(name):
            files.append((info, name))
    taken = {_folded(name): name for _, name in files}
    for name in seen.values():
        for parent in PurePosixPath(name).parents:
            if _folded(str(parent)) in taken:
                raise InputError(
                    f"{name}: lies in {taken[_folded(str(parent))]}, which is a file; rename one"
                )
    if not files:
        raise InputError("the zip holds no files; zip the .sumocfg with all its files")
    return files


def _entry_name(info: zipfile.ZipInfo, limits: BundleLimits) -> str:
    name = info.orig_filename.removesuffix("/")
    shown = repr(name if len(name) <= 120 else name[:120] + "…")

    def refuse(why: str) -> NoReturn:
        raise InputError(f"entry {shown}: {why}; rename it and zip again")

    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        refuse("has a control character in its name")
    if "\\" in name:
        refuse("has a backslash in its name")
    if re.match(r"[A-Za-z]:", name):
        refuse("begins with a drive letter")
    if name.startswith("/"):
        refuse("has an absolute path")
    if "," in name:
        refuse("has a comma in its name, at which SUMO splits lists of files")
    parts = name.split("/")
    if ".." in parts:
        refuse("leads out of the bundle (..)")
    if any(part in ("", ".") or len(part.encode()) > 200 for part in parts):
        refuse("has a folder or file name that is empty, '.' or longer than 200 bytes")
    if len(parts) - 1 > limits.depth:
        refuse(f"lies {len(parts) - 1} folders deep, at most {limits.depth} are allowed")
    return name


def _is_litter(name: str) -> bool:
    """Whether an operating system put the file there, not its owner."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db")


def _write_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, budget: _Budget) -> None:
    name = info.orig_filename
    target.parent.mkdir(parents=True, exist_ok=True)
    unpacked = 0
    with archive.open(info) as stream, target.open("xb") as out:
        while block := stream.read(MIB):
            unpacked += len(block)
            budget.spend(name, len(block))
            budget.check_ratio(name, unpacked, min(info.compress_size, budget.packed_bytes))
            out.write(block)
    with target.open("rb") as packed:
        if packed.read(2) == GZIP_MAGIC:
            packed.seek(0)
            for _ in _gunzip(name, packed, unpacked, budget):
                pass


def _gunzip(entry: str, stream: IO[bytes], packed: int, budget: _Budget) -> Iterator[bytes]:
    """Blocks of a gzipped file, of all its members; stops at the budget."""
    unpacked = 0
    engine = zlib.decompressobj(wbits=31)
    rest = b""
    try:
        while rest or (rest := stream.read(MIB)):
            block = engine.decompress(rest, MIB)
            rest = engine.unconsumed_tail
            unpacked += len(block)
            budget.spend(entry, len(block))
            budget.check_ratio(entry, unpacked, packed)
            if block:
                yield block
            if engine.eof:
                rest = (engine.unused_data or stream.read(MIB)).lstrip(b"\0")
                if rest:
                    engine = zlib.decompressobj(wbits=31)
    except zlib.error as error:
        raise InputError(f"{entry}: is broken as a gzip file: {error}; pack it anew") from None
    if not engine.eof:
        raise InputError(f"{entry}: is cut off: the gzip file ends too early; pack it anew")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# --------------------------------------------------------------------------------------- the files as a whole


def _settle(folder: Path, names: Sequence[str]) -> Bundle:
    """Check what was unpacked, remove what isn't needed, and write the .sumocfg anew."""
    found = {name: _inspect(folder / name, name) for name in names if _is_xml(folder / name)}
    configs = sorted(name for name in names if name.lower().endswith(".sumocfg"))
    if len(configs) > 1:
        shown = ", ".join(configs[:_MOST_SHOWN])
        raise InputError(f"the zip holds {len(configs)} .sumocfg files ({shown}); leave one")
    if not configs:
        nets = [name for name, file in found.items() if file.root == "net"]
        if len(nets) != 1 or len(found) > 1:
            raise InputError(
                f"the zip holds no .sumocfg, but {len(nets)} networks and {len(found) - len(nets)} other XML "
                "files; add the .sumocfg that names them, or zip one .net.xml alone"
            )
        remarks = _remove(folder, names, _used(nets, found, names))
        return Bundle(scenario_of(folder / nets[0], ()), tuple(remarks))

    (config,) = configs
    if config not in found:
        raise InputError(f"{config}: is no XML file")
    options, dropped = traffic_options(folder / config)
    at = PurePosixPath(config).parent
    files = {key: [_member(config, key, f, names) for f in _split(options.pop(key, ""))] for key in _INPUTS}
    if len(files["net-file"]) != 1:
        raise InputError(f"{config}: names {len(files['net-file'])} net-files, one is needed")
    used = _used([str(path) for paths in files.values() for path in paths], found, names)
    remarks = [*_remove(folder, names, used | {config}), *_dropped(config, dropped)]
    relative = {key: [_relative(path, at) for path in paths] for key, paths in files.items()}
    (folder / config).write_bytes(config_xml(options, relative))
    for name in sorted(used):
        for output in found[name].writes:
            (folder / _inside(name, "output", output)).parent.mkdir(parents=True, exist_ok=True)
    return Bundle(read_scenario(folder / config), tuple(remarks))


def _used(start: Iterable[str], found: Mapping[str, _File], names: Collection[str]) -> set[str]:
    """Entries that SUMO reads, beginning with these; each is refused where it could do harm."""
    readings: dict[str, int] = {}

    def count(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise InputError(
                f"{name}: includes itself ({' → '.join((*above, name))}); leave one <include> out"
            )
        if name not in readings:
            if name not in found:
                raise InputError(f"{name}: is no XML file, as SUMO needs it there; check what names it")
            if found[name].refusal:
                raise InputError(found[name].refusal)
            members = [str(_member(name, "the path", path, names)) for path in found[name].reads]
            readings[name] = 1 + sum(count(member, (*above, name)) for member in members)
        if readings[name] > _MOST_INCLUDED:
            raise InputError(
                f"{name}: makes SUMO read more than {_MOST_INCLUDED} files by its <include>s; include less"
            )
        return readings[name]

    for name in start:
        count(name, ())
    _check_outputs({name: found[name] for name in sorted(readings)}, names)
    return set(readings)


def _remove(folder: Path, names: Iterable[str], used: Collection[str]) -> list[str]:
    unused = sorted(set(names) - set(used))
    for name in unused:
        (folder / name).unlink()
    if not unused:
        return []
    shown = ", ".join(unused[:_MOST_SHOWN]) + (", …" if len(unused) > _MOST_SHOWN else "")
    return [f"files that the scenario doesn't read were left out ({len(unused)}): {shown}"]


def _dropped(config: str, options: Iterable[str]) -> Iterator[str]:
    for option in sorted(options):
        why = (
            "runs set their own"
            if option in ("seed", "random")
            else "it isn't one that changes traffic alone"
        )
        yield f"{config}: option {option} was left out: {why}"


def _member(file: str, key: str, value: str, names: Collection[str]) -> PurePosixPath:
    """The entry of the bundle that a path in one of its files means."""
    path = _inside(file, key, value)
    if str(path) not in names:
        raise InputError(f"{file}: {key} {_short(value)} isn't in the bundle; add {path} to the zip")
    return path


def _inside(file: str, key: str, value: str) -> PurePosixPath:
    """Where in the bundle a path in one of its files leads."""
    bad = _UNREADABLE_NAME.search(value)
    if bad is not None:
        raise InputError(
            f"{file}: {key} {_short(value)} has {bad.group()!r} in it; name a file in the bundle by a relative path"
        )
    path = _joined(PurePosixPath(file).parent, value)
    if path is None or value.startswith("~"):
        raise InputError(
            f"{file}: {key} {_short(value)} leads out of the bundle; put the file into it and name it relatively"
        )
    return path


def _joined(at: PurePosixPath, value: str) -> PurePosixPath | None:
    """Where a relative path leads from a folder of the bundle; None where it is outside."""
    parts = list(at.parts)
    if value.startswith("/"):
        return None
    for part in value.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return PurePosixPath(*parts)


def _relative(path: PurePosixPath, at: PurePosixPath) -> PurePosixPath:
    shared = 0
    for one, other in zip(path.parts, at.parts, strict=False):
        if one != other:
            break
        shared += 1
    return PurePosixPath(*[".."] * (len(at.parts) - shared), *path.parts[shared:])


def _check_outputs(used: Mapping[str, _File], names: Iterable[str]) -> None:
    """Refuse outputs that would leave the bundle or overwrite one of its files."""
    taken = {_folded(name): name for name in names}
    folders = {parent for name in taken for parent in PurePosixPath(name).parents}
    for name, file in used.items():
        for output in file.writes:
            path = _inside(name, "output", output)
            same = PurePosixPath(_folded(str(path)))
            for own in (same, *same.parents):
                if str(own) in taken:
                    raise InputError(
                        f"{name}: output {_short(output)} would overwrite {taken[str(own)]}; name another file"
                    )
            if same in folders:
                raise InputError(f"{name}: output {_short(output)} is a folder of the bundle; name a file")
            if len(path.parts) > DEFAULT_LIMITS.depth:
                raise InputError(
                    f"{name}: output {_short(output)} lies {len(path.parts) - 1} folders deep; name one less deep"
                )


def _folded(name: str) -> str:
    """The name as a file system sees it that knows neither case nor ways of writing an accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


# --------------------------------------------------------------------------------------------- one XML file


@dataclass(frozen=True)
class _File:
    """An XML file's outermost element, and the files that it reads and writes, as it names them.

    `refusal` says what in it could do harm if SUMO read it; empty where nothing could.
    """

    root: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    refusal: str = ""


def _looks_like_xml(start: bytes) -> bool:
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def _is_xml(path: Path) -> bool:
    if path.stat().st_size == 0:
        return False
    with open_unpacked(path) as stream:
        return _looks_like_xml(stream.read(256))


def _inspect(path: Path, shown: str) -> _File:
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
    return _File(reader.root, tuple(reader.reads), tuple(dict.fromkeys(reader.writes)), reader.refusal)


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
        if self.root in _CONFIG_ROOTS:
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
        called = f" id={_short(attrs['id'])}" if "id" in attrs.getNames() else ""
        where = f"<{name}{called}> {key}"
        if key.endswith("chemaLocation"):
            self._schema(value)
        elif (name, key) in _READS:
            if value not in _NOTHING or name == "include":
                self._read(where, value)
        elif key == "edgesFile" or (name, key) == ("calibrator", "output"):
            # SUMO 1.28 takes these relative to where it was started, not to the file.
            if value not in _NOTHING:
                self._refuse(f"{where} {_short(value)} isn't looked for in the bundle; leave it out")
        elif key in ("imgFile", "osgFile"):
            # Only SUMO's window shows pictures.
            if value in _STREAMS or value.startswith(("/", "~")) or _UNREADABLE_NAME.search(value):
                self._refuse(f"{where} {_short(value)} leads out of the bundle; leave it out")
            self._other(where, value)
        elif (key.endswith(("file", "File")) and not key.endswith("Profile")) or (
            key == "output" or (name, key) == ("timedEvent", "dest")
        ):
            self._write(where, value)
        else:
            self._other(where, value)

    def _param(self, key: str, value: str) -> None:
        low = key.lower()
        where = f"<param key={_short(key)}> value"
        if low in _FILING_DEVICES:
            if value.strip().lower() not in _FALSE:
                self._refuse(
                    f"{where} {_short(value)}: the device writes or reads files of its own; leave it out"
                )
        elif low.startswith(("device.", "person-device.")) and ("file" in low or "output" in low):
            if value not in _NOTHING:
                self._refuse(f"{where} {_short(value)} isn't looked for in the bundle; leave it out")
        elif low.endswith(("file", "output")) and not low.endswith("profile"):
            self._write(where, value)
        else:
            self._other(where, value)

    def _other(self, where: str, value: str) -> None:
        # The id of a vehicle becomes the name of a file in some of SUMO's outputs.
        if ".." in re.split(r"[/\\]", value) or "${" in value:
            self._refuse(f"{where} {_short(value)} looks like a path; name it otherwise")

    def _read(self, where: str, value: str) -> None:
        if not value or value.startswith(("/", "~")) or _UNREADABLE_NAME.search(value):
            self._refuse(
                f"{where} {_short(value)} leads out of the bundle, or is no file name; "
                "name a file in it by a relative path"
            )
        else:
            self.reads.append(value)

    def _write(self, where: str, value: str) -> None:
        if value in _NOTHING or value.lower() in ("true", "false"):
            return
        if value in _STREAMS or value.startswith(("/", "~")) or _UNREADABLE_NAME.search(value):
            self._refuse(
                f"{where} {_short(value)} leads out of the bundle, or is no file name; "
                "name a file by a relative path, or NUL to write nothing"
            )
        else:
            self.writes.append(value)

    def _schema(self, value: str) -> None:
        # With validation on, SUMO fetches a schema from wherever it is said to be.
        for part in value.split():
            host = re.match(r"https?://(?:www\.)?([^/:@]+)/", part)
            if host is None or host[1] not in _SCHEMA_HOSTS:
                self._refuse(f"schemaLocation {_short(part)} isn't on SUMO's own sites; leave it out")

    def _refuse(self, why: str) -> None:
        self.refusal = self.refusal or f"{self.file}: {why}"


def _short(value: str) -> str:
    return repr(value if len(value) <= 80 else value[:80] + "…")


# ------------------------------------------------------------------------------------------------- .sumocfg


def traffic_options(config: Path) -> tuple[dict[str, str], list[str]]:
    """Options of a .sumocfg that change nothing but traffic, files included, and the names of all others.

    Raises
    ------
    InputError
        Where the file is broken, is no .sumocfg, or has a variable of the environment in a value.
    """
    root = root_tag(config)
    if root not in _CONFIG_ROOTS:
        raise InputError(f"{config}: is no .sumocfg: its outermost element is <{root}>, not <configuration>")
    kept: dict[str, str] = {}
    dropped: list[str] = []
    for element in elements(config, root):
        for child in element.iter():
            value = child.get("value", child.get("v"))
            if value is None:
                value = (child.text or "").strip()
                if len(child) or not value:
                    continue
            option = _SYNONYMS.get(child.tag, child.tag)
            if option in OPTIONS_KEPT or option in _INPUTS:
                kept[option] = value
            elif value.strip() and option not in _VALIDATION:
                dropped.append(option)
    for option, value in kept.items():
        if "$" in value:
            raise InputError(
                f"{config}: {option} {_short(value)}: variables of the environment aren't filled in; "
                "write the value itself"
            )
    return kept, dropped


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _window(scenario: Scenario) -> dict[str, str]:
    """What a scenario says beside its files, where that isn't what SUMO assumes."""
    stated = {
        "begin": (scenario.begin_s, 0.0),
        "end": (scenario.end_s, None),
        "step-length": (scenario.step_s, 1.0),
        "time-to-teleport": (scenario.time_to_teleport_s, 300.0),
    }
    options = {key: f"{value:.15g}" for key, (value, usual) in stated.items() if value not in (None, usual)}
    return {**options, "ignore-route-errors": "true"} if scenario.ignore_route_errors else options


def config_xml(options: Mapping[str, str], files: Mapping[str, Iterable[PurePosixPath]]) -> bytes:
    """A .sumocfg with these options, and with files by their option, relative to it."""
    root = Element("configuration")
    inputs = SubElement(root, "input")
    for key in _INPUTS:
        names = [str(path) for path in files.get(key, ())]
        if names:
            SubElement(inputs, key, value=",".join(names))
    kept = SubElement(root, "processing")
    for option in sorted(set(options) - set(_INPUTS)):
        SubElement(kept, option, value=options[option])
    # Validation could fetch schemas from the network; the files have been checked.
    report = SubElement(root, "report")
    for option in _VALIDATION:
        SubElement(report, option, value="never")
    indent(root, "    ")
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.create_system = 3
            archive.writestr(info, files[name])
    return buffer.getvalue()
