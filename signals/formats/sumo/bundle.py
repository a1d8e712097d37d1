"""An uploaded scenario: unpacked without trust, and packed so that it can be uploaded.

What SUMO reads can do harm. So the .sumocfg is written anew from the options that change nothing but traffic
(`traffic_options`), and every file of the scenario is read before SUMO gets to see it (`scrutiny`).
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

from signals.errors import InputError
from signals.formats.files import GZIP_MAGIC
from signals.formats.sumo.config import Scenario, read_scenario, scenario_of
from signals.formats.sumo.scrutiny import (
    UNREADABLE_NAME,
    NamedFiles,
    is_xml,
    looks_like_xml,
    named_files,
    shortened,
)
from signals.formats.sumo.traffic_options import (
    INPUTS,
    config_xml,
    split_files,
    traffic_options,
    window_options,
)

NET_NAME = "network.net.xml"
"""Name given to a network that came without one."""

MIB = 1 << 20
_MOST_SHOWN = 5
_MOST_INCLUDED = 1000


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
        found = named_files(path, str(path))
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
    window = window_options(scenario)
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
    if not looks_like_xml(start):
        raise InputError(
            f"{what} is neither a zip nor a SUMO network (it begins with {start[:8]!r}); upload a zip of the "
            ".sumocfg with all its files, or a .net.xml, plain or gzipped"
        )
    found = named_files(target, NET_NAME)
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
    found = {name: named_files(folder / name, name) for name in names if is_xml(folder / name)}
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
    files = {
        key: [_member(config, key, f, names) for f in split_files(options.pop(key, ""))] for key in INPUTS
    }
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


def _used(start: Iterable[str], found: Mapping[str, NamedFiles], names: Collection[str]) -> set[str]:
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
        raise InputError(f"{file}: {key} {shortened(value)} isn't in the bundle; add {path} to the zip")
    return path


def _inside(file: str, key: str, value: str) -> PurePosixPath:
    """Where in the bundle a path in one of its files leads."""
    bad = UNREADABLE_NAME.search(value)
    if bad is not None:
        raise InputError(
            f"{file}: {key} {shortened(value)} has {bad.group()!r} in it; name a file in the bundle by a relative path"
        )
    path = _joined(PurePosixPath(file).parent, value)
    if path is None or value.startswith("~"):
        raise InputError(
            f"{file}: {key} {shortened(value)} leads out of the bundle; put the file into it and name it relatively"
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


def _check_outputs(used: Mapping[str, NamedFiles], names: Iterable[str]) -> None:
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
                        f"{name}: output {shortened(output)} would overwrite {taken[str(own)]}; name another file"
                    )
            if same in folders:
                raise InputError(f"{name}: output {shortened(output)} is a folder of the bundle; name a file")
            if len(path.parts) > DEFAULT_LIMITS.depth:
                raise InputError(
                    f"{name}: output {shortened(output)} lies {len(path.parts) - 1} folders deep; name one less deep"
                )


def _folded(name: str) -> str:
    """The name as a file system sees it that knows neither case nor ways of writing an accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


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
