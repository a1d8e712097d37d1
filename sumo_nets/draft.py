"""A road network on the drawing board: streets between nodes, then one run of netconvert.

Streets are drawn as pairs of nodes; the draft derives edges, left-turn pockets, lane use at signals and
crossings from them, writes SUMO's plain XML and lets netconvert build the ``.net.xml``.  The result depends
on the draft and on the version of netconvert alone: the dated comment that netconvert writes is removed.
"""

import itertools
import math
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# The shipped .net.xml files come from this release; another one may place vertices differently.
SUMO_VERSION = "1.28"

LANE_WIDTH_M = 3.2
SIDEWALK_WIDTH_M = 2.0
CROSSING_WIDTH_M = 4.0


def sumo_binary(name: str) -> str:
    """Path of a SUMO program: $SUMO_HOME, the ``eclipse-sumo`` wheel or PATH, as sumolib looks for it."""
    import sumolib  # slow to import, and only building needs it

    return str(sumolib.checkBinary(name))


@dataclass(frozen=True)
class Edge:
    """One carriageway of a street, or its last metres where a left-turn pocket widens it."""

    id: str
    start: str
    end: str
    lanes: int
    speed_mps: float
    priority: int
    sidewalk: bool
    median_m: float

    def lane(self, from_right: int) -> int:
        """SUMO's index of a vehicle lane counted from the right, past the sidewalk."""
        return from_right + int(self.sidewalk)


@dataclass
class Draft:
    """Nodes and streets of a network, in metres, x to the east and y to the north."""

    nodes: dict[str, tuple[float, float]] = field(default_factory=dict)
    edges: dict[str, Edge] = field(default_factory=dict)
    signals: dict[str, list[str]] = field(default_factory=dict)  # node -> neighbours whose leg has a crossing
    _pieces: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _pocketed: set[str] = field(default_factory=set)

    def add_node(self, node: str, x_m: float, y_m: float) -> None:
        """Place a node; streets start and end at nodes."""
        self.nodes[node] = (x_m, y_m)

    def add_street(
        self,
        a: str,
        b: str,
        *,
        lanes: int,
        speed_mps: float,
        priority: int,
        pockets_at: Iterable[str] = (),
        pocket_m: float = 80.0,
        sidewalk: bool = False,
        median: bool = False,
    ) -> None:
        """Draw a two-way street with `lanes` vehicle lanes each way.

        A node in `pockets_at` gets a left-turn pocket of `pocket_m` on its approach.  A street with a pocket
        has a median of one lane's width, so that the through lanes run straight past the pocket; `median`
        draws one where there is no pocket.
        """
        pockets = set(pockets_at)
        median_m = LANE_WIDTH_M if pockets or median else 0.0
        for start, end in ((a, b), (b, a)):
            name = f"{start}_{end}"
            if end not in pockets:
                self._add_piece(
                    (start, end), Edge(name, start, end, lanes, speed_mps, priority, sidewalk, median_m)
                )
                continue
            (x0, y0), (x1, y1) = self.nodes[start], self.nodes[end]
            share = 1.0 - pocket_m / math.hypot(x1 - x0, y1 - y0)
            joint = f"{name}_joint"
            self.add_node(joint, x0 + share * (x1 - x0), y0 + share * (y1 - y0))
            self._add_piece(
                (start, end), Edge(name, start, joint, lanes, speed_mps, priority, sidewalk, median_m)
            )
            pocket = Edge(f"{name}_pocket", joint, end, lanes + 1, speed_mps, priority, sidewalk, 0.0)
            self._add_piece((start, end), pocket)
            self._pocketed.add(pocket.id)

    def _add_piece(self, street: tuple[str, str], edge: Edge) -> None:
        self.edges[edge.id] = edge
        self._pieces.setdefault(street, []).append(edge.id)

    def add_signal(self, node: str, crossings_to: Sequence[str] = ()) -> None:
        """Signalise a node; `crossings_to` names the neighbours whose leg pedestrians may cross."""
        self.signals[node] = list(crossings_to)

    def path(self, nodes: Sequence[str]) -> list[str]:
        """Edge ids of a drive along `nodes`, pockets included."""
        return [edge for street in itertools.pairwise(nodes) for edge in self._pieces[street]]

    def approach(self, start: str, end: str) -> Edge:
        """The edge on which vehicles from `start` stop at `end`."""
        return self.edges[self._pieces[start, end][-1]]

    def departure(self, start: str, end: str) -> Edge:
        """The edge on which vehicles leave `start` towards `end`."""
        return self.edges[self._pieces[start, end][0]]

    def build(self, net_file: Path) -> None:
        """Run netconvert and write the network, with a dateless header, to `net_file`.

        Raises
        ------
        RuntimeError
            When netconvert fails or warns; the message is what it printed.
        """
        with tempfile.TemporaryDirectory(prefix="greensplit-net-") as folder:
            plain = Path(folder)
            (plain / "plain.nod.xml").write_text(self._nodes_xml(), encoding="utf-8")
            (plain / "plain.edg.xml").write_text(self._edges_xml(), encoding="utf-8")
            (plain / "plain.con.xml").write_text(self._connections_xml(), encoding="utf-8")
            done = subprocess.run(
                [
                    sumo_binary("netconvert"),
                    "--node-files=plain.nod.xml",
                    "--edge-files=plain.edg.xml",
                    "--connection-files=plain.con.xml",
                    "--output-file=built.net.xml",
                    "--no-turnarounds",
                    "--offset.disable-normalization",
                ],
                cwd=plain,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode or "Warning" in done.stderr:
                raise RuntimeError(f"netconvert on {net_file.name}: {done.stderr.strip()}")
            built = (plain / "built.net.xml").read_text(encoding="utf-8")
        net_file.write_text(re.sub(r"<!--.*?-->\n*", "", built, flags=re.DOTALL), encoding="utf-8")

    def _nodes_xml(self) -> str:
        rows = []
        for node, (x_m, y_m) in self.nodes.items():
            kind = "traffic_light" if node in self.signals else "priority"
            rows.append(f'    <node id="{node}" x="{x_m:.2f}" y="{y_m:.2f}" type="{kind}"/>')
        return "\n".join(["<nodes>", *rows, "</nodes>", ""])

    def _edges_xml(self) -> str:
        rows = []
        for edge in self.edges.values():
            total = edge.lanes + int(edge.sidewalk)
            shape = self._offset_shape(edge)
            rows.append(
                f'    <edge id="{edge.id}" from="{edge.start}" to="{edge.end}" numLanes="{total}"'
                f' speed="{edge.speed_mps:.2f}" priority="{edge.priority}"{shape}>'
            )
            if edge.sidewalk:
                rows.append(f'        <lane index="0" allow="pedestrian" width="{SIDEWALK_WIDTH_M:.2f}"/>')
            for lane in range(int(edge.sidewalk), total):
                width = f'width="{LANE_WIDTH_M:.2f}"'
                rows.append(f'        <lane index="{lane}" disallow="pedestrian" {width}/>')
            rows.append("    </edge>")
        return "\n".join(["<edges>", *rows, "</edges>", ""])

    def _offset_shape(self, edge: Edge) -> str:
        """The shape attribute of an edge that runs beside a median, empty for all others."""
        if not edge.median_m:
            return ""
        (x0, y0), (x1, y1) = self.nodes[edge.start], self.nodes[edge.end]
        length_m = math.hypot(x1 - x0, y1 - y0)
        right_x, right_y = (y1 - y0) / length_m * edge.median_m, -(x1 - x0) / length_m * edge.median_m
        points = ((x0 + right_x, y0 + right_y), (x1 + right_x, y1 + right_y))
        return ' shape="{}"'.format(" ".join(f"{x:.2f},{y:.2f}" for x, y in points))

    def _connections_xml(self) -> str:
        rows = []
        for pieces in self._pieces.values():
            if len(pieces) == 2:
                upstream, pocket = (self.edges[piece] for piece in pieces)
                for lane in range(pocket.lanes):
                    rows.append(_connection(upstream, min(lane, upstream.lanes - 1), pocket, lane))
        arms_of: dict[str, list[str]] = {}
        for start, end in self._pieces:
            arms_of.setdefault(end, []).append(start)
        for node, crossings_to in self.signals.items():
            arms = arms_of[node]
            for start in arms:
                rows += self._lane_use(start, node, [end for end in arms if end != start])
            for neighbour in crossings_to:
                edges = f"{self.approach(neighbour, node).id} {self.departure(node, neighbour).id}"
                rows.append(f'    <crossing node="{node}" edges="{edges}" width="{CROSSING_WIDTH_M:.2f}"/>')
        return "\n".join(["<connections>", *rows, "</connections>", ""])

    def _lane_use(self, start: str, node: str, exits: Iterable[str]) -> list[str]:
        """Connections of one approach: rights from the right lane, lefts from the left lane or pocket."""
        approach = self.approach(start, node)
        turns = {self._turn(start, node, end): self.departure(node, end) for end in exits}
        lanes = list(range(approach.lanes))
        lefts = lanes[-1:]
        if approach.id in self._pocketed or ("through" not in turns and len(lanes) > 1):
            lanes = lanes[:-1]
        rows = []
        if "right" in turns:
            rows.append(_connection(approach, 0, turns["right"], 0))
        if "through" in turns:
            rows += [_connection(approach, lane, turns["through"], lane) for lane in lanes]
        if "left" in turns:
            rows += [_connection(approach, lane, turns["left"], turns["left"].lanes - 1) for lane in lefts]
        return rows

    def _turn(self, start: str, node: str, end: str) -> str:
        (x0, y0), (x1, y1), (x2, y2) = self.nodes[start], self.nodes[node], self.nodes[end]
        angle = math.degrees(math.atan2(y2 - y1, x2 - x1) - math.atan2(y1 - y0, x1 - x0))
        angle = (angle + 180.0) % 360.0 - 180.0
        if abs(angle) < 45.0:
            return "through"
        return "left" if angle > 0 else "right"


def _connection(start: Edge, start_lane: int, end: Edge, end_lane: int) -> str:
    return (
        f'    <connection from="{start.id}" to="{end.id}"'
        f' fromLane="{start.lane(start_lane)}" toLane="{end.lane(end_lane)}"/>'
    )
