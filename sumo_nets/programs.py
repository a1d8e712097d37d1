"""Fixed-time programs for built networks: stages of NEMA movements in, ``<tlLogic>`` elements out.

A program is given as a controller's timing sheet gives it: stages in order, each with the NEMA phases that
run together, their green and the crossings that show WALK.  Yellow, all-red and pedestrian clearance
follow from the geometry of the built network:

* yellow = 1.0 + V85 / (2 x 3.05 m/s2), at least 3 s (ITE), rounded up to a tenth;
* all-red = (length of the path through the junction + 6.1 m) / speed limit (ITE), at least 1 s, lengthened
  so that yellow plus all-red is a whole second and greens stay on whole seconds;
* the last part of a stage with WALK is the flashing DON'T WALK, crossing length / 1.07 m/s (MUTCD 4I.06),
  which ends with the green: yellow and all-red stay as buffer.

Phase numbers: 2 eastbound and 6 westbound through, 4 northbound and 8 southbound through, 1 westbound,
5 eastbound, 3 southbound, 7 northbound left.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WALK_S = 7
PEDESTRIAN_SPEED_MPS = 1.07
DECELERATION_MPS2 = 3.05
VEHICLE_LENGTH_M = 6.1
# SUMO draws each driver's speed factor from normc(1, 0.1): the 85th percentile is 10 % above the limit.
V85_FACTOR = 1.1

PHASE_MOVEMENTS: Mapping[int, tuple[str, ...]] = {
    1: ("WBL",),
    2: ("EBT", "EBR"),
    3: ("SBL",),
    4: ("NBT", "NBR"),
    5: ("EBL",),
    6: ("WBT", "WBR"),
    7: ("NBL",),
    8: ("SBT", "SBR"),
}
_THROUGH_PHASE = {"EB": 2, "WB": 6, "NB": 4, "SB": 8}
_OPPOSITE = {"EB": "WB", "WB": "EB", "NB": "SB", "SB": "NB"}
_RIGHT_OF = {"EB": "SB", "SB": "WB", "WB": "NB", "NB": "EB"}
_LEG_AHEAD = {"EB": "E", "WB": "W", "NB": "N", "SB": "S"}


@dataclass(frozen=True)
class SignalLink:
    """One signal-controlled connection: a vehicle movement ("EBL") or the crossing of a leg ("W")."""

    index: int
    movement: str
    yellow_s: float
    red_s: float
    crossing_m: float = 0.0

    @property
    def is_crossing(self) -> bool:
        """Whether pedestrians use the link."""
        return self.crossing_m > 0.0

    @property
    def bound(self) -> str:
        """The way an approach heads: EB, WB, NB or SB."""
        return self.movement[:2]

    @property
    def exit_leg(self) -> str:
        """The leg on which the movement leaves the intersection."""
        heading = self.bound
        turn = self.movement[2]
        if turn == "R":
            heading = _RIGHT_OF[heading]
        elif turn == "L":
            heading = _OPPOSITE[_RIGHT_OF[heading]]
        return _LEG_AHEAD[heading]


@dataclass(frozen=True)
class Stage:
    """NEMA phases that run together, with their green in whole seconds.

    `walks` names the legs whose crossings show WALK.  `permitted_lefts` lets left turns yield to the
    opposing through movement (a green ball or flashing arrow); without it they wait for their arrow.
    """

    phases: frozenset[int]
    green_s: int
    walks: frozenset[str] = frozenset()
    permitted_lefts: bool = True
    min_green_s: int | None = None
    max_green_s: int | None = None

    @property
    def name(self) -> str:
        """The stage on a timing sheet, e.g. ``2+6``."""
        return "+".join(str(phase) for phase in sorted(self.phases))


@dataclass(frozen=True)
class Interval:
    """One ``<phase>`` of SUMO."""

    duration_s: float
    state: str
    name: str = ""
    min_s: int | None = None
    max_s: int | None = None


@dataclass(frozen=True)
class Program:
    """The stages of one signal, its offset and the movements that may turn right on red."""

    stages: tuple[Stage, ...]
    offset_s: int = 0
    right_on_red: frozenset[str] = frozenset()


def stage(
    phases: str,
    green_s: int,
    *,
    walks: str = "",
    permitted_lefts: bool = True,
    min_green_s: int | None = None,
    max_green_s: int | None = None,
) -> Stage:
    """A stage from a timing-sheet row: ``stage("2+6", 40, walks="NS")``."""
    return Stage(
        frozenset(int(phase) for phase in phases.split("+")),
        green_s,
        frozenset(walks),
        permitted_lefts,
        min_green_s,
        max_green_s,
    )


def read_signal_links(net_file: Path) -> dict[str, list[SignalLink]]:
    """The links of every signal in a built network, in the order of their index."""
    root = ET.parse(net_file).getroot()
    lanes: dict[str, ET.Element] = {}
    edges: dict[str, ET.Element] = {}
    for edge in root.iter("edge"):
        edges[edge.attrib["id"]] = edge
        for lane in edge.iter("lane"):
            lanes[lane.attrib["id"]] = lane
    connections = list(root.iter("connection"))
    onward = {
        f"{c.attrib['from']}_{c.attrib['fromLane']}": c.attrib.get("via")
        for c in connections
        if c.attrib["from"].startswith(":")
    }
    links: dict[str, list[SignalLink]] = {}
    for connection in connections:
        signal = connection.get("tl")
        if signal is None:
            continue
        index = int(connection.attrib["linkIndex"])
        target = edges[connection.attrib["to"]]
        if target.get("function") == "crossing":
            crossed = [edges[name] for name in target.attrib["crossingEdges"].split()]
            inbound = next(e for e in crossed if e.attrib["to"] == _junction_of(target))
            leg = _LEG_AHEAD[_OPPOSITE[_heading(inbound)]]
            length_m = float(lanes[f"{target.attrib['id']}_0"].attrib["length"])
            link = SignalLink(index, leg, 0.0, 0.0, crossing_m=length_m)
        else:
            path_m = 0.0
            via = connection.get("via")
            while via is not None:
                path_m += float(lanes[via].attrib["length"])
                via = onward.get(via)
            source = edges[connection.attrib["from"]]
            turn = {"s": "T", "l": "L", "r": "R"}[connection.attrib["dir"].lower()]
            speed_mps = float(source[-1].attrib["speed"])
            yellow_s, red_s = clearance_s(speed_mps, path_m)
            link = SignalLink(index, _heading(source) + turn, yellow_s, red_s)
        links.setdefault(signal, []).append(link)
    for of_signal in links.values():
        of_signal.sort(key=lambda link: link.index)
    return links


def clearance_s(speed_limit_mps: float, path_m: float) -> tuple[float, float]:
    """Yellow and all-red in seconds, each rounded up to a tenth, for a movement that clears `path_m`."""
    yellow_s = 1.0 + V85_FACTOR * speed_limit_mps / (2.0 * DECELERATION_MPS2)
    red_s = (path_m + VEHICLE_LENGTH_M) / speed_limit_mps
    return max(3.0, math.ceil(yellow_s * 10.0) / 10.0), max(1.0, math.ceil(red_s * 10.0) / 10.0)


def list_intervals(links: Sequence[SignalLink], program: Program) -> list[Interval]:
    """The SUMO phases of a program: greens, pedestrian clearances, yellows and all-reds.

    Raises
    ------
    ValueError
        When a link is never served or a stage is shorter than WALK plus clearance.
    """
    greens = [_green_state(links, item) for item in program.stages]
    for link in links:
        if all(state[link.index] == "r" for state in greens):
            raise ValueError(f"no stage serves link {link.index} ({link.movement})")
    intervals: list[Interval] = []
    for position, item in enumerate(program.stages):
        state, following = greens[position], greens[(position + 1) % len(greens)]
        intervals += _green_intervals(links, item, state)
        intervals += _change_intervals(links, state, following, item.name)
    red_of = {link.index: "s" if link.movement in program.right_on_red else "r" for link in links}
    return [
        Interval(
            i.duration_s,
            "".join(red_of[n] if sign == "r" else sign for n, sign in enumerate(i.state)),
            i.name,
            i.min_s,
            i.max_s,
        )
        for i in intervals
    ]


def write_programs(net_file: Path, programs: Mapping[str, Program]) -> None:
    """Replace the programs that netconvert guessed in `net_file` by `programs`."""
    links = read_signal_links(net_file)

    def timed(match: re.Match[str]) -> str:
        signal = match.group(1)
        program = programs[signal]
        rows = [f'    <tlLogic id="{signal}" type="static" programID="0" offset="{program.offset_s}">']
        for i in list_intervals(links[signal], program):
            bounds = "".join(
                f' {key}="{value}"' for key, value in (("minDur", i.min_s), ("maxDur", i.max_s)) if value
            )
            name = f' name="{i.name}"' if i.name else ""
            rows.append(f'        <phase duration="{i.duration_s:g}" state="{i.state}"{name}{bounds}/>')
        return "\n".join([*rows, "    </tlLogic>"])

    net = net_file.read_text(encoding="utf-8")
    net = re.sub(r'    <tlLogic id="([^"]+)".*?</tlLogic>', timed, net, flags=re.DOTALL)
    net_file.write_text(net, encoding="utf-8")


def pedestrian_green_s(links: Sequence[SignalLink], walks: frozenset[str]) -> int:
    """Shortest green, in whole seconds, that holds WALK and clearance on the crossings `walks`."""
    return WALK_S + _pedestrian_clearance_s(links, walks) if walks else 0


def change_s(links: Sequence[SignalLink], current: Stage, following: Stage) -> int:
    """Yellow plus all-red between two stages, in whole seconds."""
    change = _change_intervals(links, _green_state(links, current), _green_state(links, following), "")
    return round(sum(i.duration_s for i in change))


def _junction_of(crossing: ET.Element) -> str:
    return crossing.attrib["id"][1:].rsplit("_c", 1)[0]


def _heading(edge: ET.Element) -> str:
    (x0, y0), (x1, y1) = (
        [float(value) for value in point.split(",")[:2]] for point in edge[-1].attrib["shape"].split()[-2:]
    )
    if abs(x1 - x0) >= abs(y1 - y0):
        return "EB" if x1 > x0 else "WB"
    return "NB" if y1 > y0 else "SB"


def _pedestrian_clearance_s(links: Sequence[SignalLink], walks: frozenset[str]) -> int:
    lengths_m = [link.crossing_m for link in links if link.movement in walks]
    return math.ceil(max(lengths_m, default=0.0) / PEDESTRIAN_SPEED_MPS)


def _green_state(links: Sequence[SignalLink], item: Stage) -> str:
    """Signs of all links while the stage is green and its crossings show WALK."""
    served = {movement for phase in item.phases for movement in PHASE_MOVEMENTS[phase]}
    present = {link.bound for link in links if not link.is_crossing}
    signs = []
    for link in links:
        sign = "r"
        if link.is_crossing:
            sign = "G" if link.movement in item.walks else "r"
        elif link.movement in served:
            sign = "G"
        elif link.movement[2] == "L" and _THROUGH_PHASE[link.bound] in item.phases:
            opposing = _OPPOSITE[link.bound]
            if opposing not in present or _THROUGH_PHASE[opposing] not in item.phases:
                sign = "G"
            elif item.permitted_lefts:
                sign = "g"
        if sign == "G" and not link.is_crossing and link.exit_leg in item.walks:
            sign = "g"  # turning vehicles yield to pedestrians on the leg they enter
        signs.append(sign)
    return "".join(signs)


def _green_intervals(links: Sequence[SignalLink], item: Stage, state: str) -> list[Interval]:
    if not item.walks:
        return [Interval(item.green_s, state, item.name, item.min_green_s, item.max_green_s)]
    clearance = _pedestrian_clearance_s(links, item.walks)
    walk = item.green_s - clearance
    if walk < WALK_S:
        raise ValueError(
            f"stage {item.name}: green {item.green_s} s, needs {WALK_S + clearance} s "
            f"(walk {WALK_S} + clearance {clearance})"
        )
    crossings = {link.index for link in links if link.is_crossing}
    flashing = "".join("r" if n in crossings else sign for n, sign in enumerate(state))
    # The bounds belong to the part that may stretch: the clearance is as long as the crossing asks for.
    least = None if item.min_green_s is None else max(WALK_S, item.min_green_s - clearance)
    most = None if item.max_green_s is None else item.max_green_s - clearance
    return [
        Interval(walk, state, f"{item.name} walk", least, most),
        Interval(clearance, flashing, f"{item.name} clear"),
    ]


def _change_intervals(links: Sequence[SignalLink], state: str, following: str, name: str) -> list[Interval]:
    yellow, red = "", ""
    yellow_s = red_s = 0.0
    for link, now, then in zip(links, state, following, strict=True):
        if link.is_crossing:
            now_yellow = now_red = "r"
        elif now in "Gg" and (then == "r" or (now, then, link.movement[2]) == ("G", "g", "L")):
            # A left turn that loses its arrow is cleared before it has to yield.
            now_yellow, now_red = "y", "r"
            yellow_s, red_s = max(yellow_s, link.yellow_s), max(red_s, link.red_s)
        else:
            now_yellow = now_red = now
        yellow += now_yellow
        red += now_red
    if not yellow_s:
        return []
    whole_s = math.ceil(round(yellow_s + red_s, 1))
    return [
        Interval(yellow_s, yellow, f"{name} yellow"),
        Interval(round(whole_s - yellow_s, 1), red, f"{name} red"),
    ]
