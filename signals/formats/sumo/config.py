"""A SUMO scenario: which files it is made of, and its window of time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from signals.errors import InputError
from signals.formats.sumo.xml import elements, root_tag

SYNONYMS = {
    "net": "net-file",
    "n": "net-file",
    "routes": "route-files",
    "r": "route-files",
    "additional": "additional-files",
    "a": "additional-files",
    "b": "begin",
    "e": "end",
}
"""Other names of options, by which SUMO takes them too."""

COMMA = "SUMO splits its lists of files at commas; rename the file or its folder"
"""What to do about a path that SUMO would take for two."""


@dataclass(frozen=True)
class Scenario:
    """Files and window of a SUMO scenario; paths are absolute.

    `end_s` is None where the scenario runs until everybody has arrived. `config` is None where the
    scenario was given as a network with routes. `scale` is how many times the routes' demand its .sumocfg asks for.
    """

    config: Path | None
    net: Path
    routes: tuple[Path, ...]
    additional: tuple[Path, ...]
    begin_s: float
    end_s: float | None
    step_s: float = 1.0
    time_to_teleport_s: float = 300.0
    ignore_route_errors: bool = False
    scale: float = 1.0

    @property
    def name(self) -> str:
        """Short name for tables and reports."""
        return (self.config or self.net).name.split(".")[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the scenario reads."""
        own = (self.config,) if self.config else ()
        return (*own, self.net, *self.routes, *self.additional)

    def arguments(self) -> list[str]:
        """SUMO's arguments for the scenario as it is, without additional files and end."""
        begin = ["-b", str(self.begin_s)]
        if self.config:
            return ["-c", str(self.config), *begin]
        routes = ["-r", ",".join(map(str, self.routes))] if self.routes else []
        return ["-n", str(self.net), *routes, *begin]

    def content_hash(self) -> str:
        """SHA-256 over the window and the content of all files, 64 hex digits."""
        digest = hashlib.sha256(f"{self.begin_s!r} {self.end_s!r}".encode())
        for path in self.files:
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()


def parse_time(text: str, where: str) -> float:
    """Seconds of a SUMO time: a number, or [d:]hh:mm:ss.

    Raises
    ------
    InputError
        Where it is neither.
    """
    try:
        parts = [float(p) for p in text.strip().split(":")]
    except ValueError:
        raise InputError(f"{where}: {text!r} is no time; give seconds or [d:]hh:mm:ss") from None
    if len(parts) > 4 or not all(map(math.isfinite, parts)):
        raise InputError(f"{where}: {text!r} is no time; give seconds or [d:]hh:mm:ss")
    return sum(value * unit for value, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False))


def read_scenario(config: Path) -> Scenario:
    """The scenario of a .sumocfg; every file it names is checked to be there and to be XML.

    Raises
    ------
    InputError
        Where the file or one it names is absent, broken or not what it should be.
    """
    config = config.resolve()
    if root_tag(config) in ("net", "routes", "additional"):
        raise InputError(f"{config}: is no .sumocfg; give it with --net, and the demand with --routes")
    options: dict[str, str] = {}
    for element in elements(config, *_option_tags(config)):
        value = element.get("value", element.get("v"))
        if value is not None:
            options[SYNONYMS.get(element.tag, element.tag)] = value

    def files(key: str) -> tuple[Path, ...]:
        value = options.get(key, "")
        if "," in value and (config.parent / value).is_file():
            raise InputError(f"{config}: {key} {value!r}: {COMMA}")
        return tuple((config.parent / f.strip()).resolve() for f in value.split(",") if f.strip())

    nets = files("net-file")
    if not nets:
        raise InputError(f"{config}: names no net-file")

    def number(key: str, default: float) -> float:
        return parse_time(options[key], f"{config}: {key}") if key in options else default

    end = number("end", -1.0)
    return _checked(
        Scenario(
            config,
            nets[0],
            files("route-files"),
            files("additional-files"),
            number("begin", 0.0),
            end if end >= 0 else None,
            number("step-length", 1.0),
            number("time-to-teleport", 300.0),
            options.get("ignore-route-errors", "false").lower() in ("true", "1", "yes", "on", "x", "t"),
            number("scale", 1.0),
        )
    )


def scenario_of(
    net: Path,
    routes: Sequence[Path],
    additional: Sequence[Path] = (),
    begin_s: float = 0.0,
    end_s: float | None = None,
) -> Scenario:
    """A scenario given by its parts rather than by a .sumocfg.

    Raises
    ------
    InputError
        Where a file is absent or broken.
    """
    return _checked(
        Scenario(
            None,
            net.resolve(),
            tuple(p.resolve() for p in routes),
            tuple(p.resolve() for p in additional),
            begin_s,
            end_s,
        )
    )


def _option_tags(config: Path) -> list[str]:
    """Tags of the elements that carry a value, whatever section they stand in."""
    tags: set[str] = set()
    root = root_tag(config)
    for element in elements(config, root):
        tags.update(child.tag for child in element.iter() if child is not element and not len(child))
    return sorted(tags)


def _checked(scenario: Scenario) -> Scenario:
    if root_tag(scenario.net) != "net":
        raise InputError(f"{scenario.net}: is no SUMO network (its outermost element isn't <net>)")
    for path in (*scenario.routes, *scenario.additional):
        root_tag(path)
    for path in scenario.files:
        if "," in str(path):
            raise InputError(f"{path}: {COMMA}")
    if scenario.end_s is not None and scenario.end_s <= scenario.begin_s:
        raise InputError(
            f"{scenario.config or scenario.net}: ends at {scenario.end_s:g} s, "
            f"not after its begin at {scenario.begin_s:g} s"
        )
    return scenario
