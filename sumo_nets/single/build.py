"""Build the ``single`` scenario: ``python -m sumo_nets.single.build``."""

from pathlib import Path

from sumo_nets.draft import Draft
from sumo_nets.programs import Program, stage, write_programs
from sumo_nets.scenario import SLOT_S, write_elements, write_sumocfg

SPEED_MPS = 13.89  # 50 km/h on both streets
LEG_M = 400.0

# Vehicles per hour from leg to leg in the busiest slot (origin, destination, veh/h).
PEAK_FLOWS_VPH = (
    ("west", "east", 690), ("west", "north", 135), ("west", "south", 95),
    ("east", "west", 560), ("east", "south", 165), ("east", "north", 80),
    ("south", "north", 330), ("south", "west", 95), ("south", "east", 105),
    ("north", "south", 270), ("north", "east", 110), ("north", "west", 75),
)  # fmt: skip
# Share of the peak in each quarter of an hour: the main street builds up, the side street peaks later.
MAIN_SHAPE = (0.72, 0.90, 1.00, 0.84)
SIDE_SHAPE = (0.66, 0.80, 0.94, 1.00)
TRUCK_SHARE = 0.04
PEDESTRIANS_PER_HOUR = 60  # on each of the four crossings, both ways together
# The sidewalk on the right of a drive from the first leg to the second leads over the crossing of the key.
SIDEWALKS_ALONG = {
    "west": ("north", "south"),
    "east": ("south", "north"),
    "south": ("west", "east"),
    "north": ("east", "west"),
}

# Timed by hand for counts a fifth lower and for a busier side street: cycle 90 s.
PROGRAM = Program(
    (
        stage("1+5", 9, permitted_lefts=False, min_green_s=5, max_green_s=15),
        stage("2+6", 28, walks="NS", min_green_s=18, max_green_s=45),
        stage("4+8", 35, walks="EW", min_green_s=25, max_green_s=40),
    )
)


def build(directory: Path) -> Path:
    """Write network, demand and configuration into `directory`; returns the ``.sumocfg``."""
    net_file = directory / "single.net.xml"
    draft_network().build(net_file)
    write_programs(net_file, {"centre": PROGRAM})
    write_elements(directory / "vehicles.rou.xml", "routes", list_vehicle_rows())
    write_elements(directory / "pedestrians.rou.xml", "routes", list_pedestrian_rows())
    cfg = directory / "single.sumocfg"
    write_sumocfg(
        cfg,
        net=net_file.name,
        routes=("vehicles.rou.xml", "pedestrians.rou.xml"),
        begin_s=0,
        end_s=4 * SLOT_S,
    )
    return cfg


def draft_network() -> Draft:
    """Main street west-east with two lanes, side street with one; a left-turn pocket on every approach."""
    draft = Draft()
    draft.add_node("centre", 0.0, 0.0)
    for node, x, y in (("west", -1, 0), ("east", 1, 0), ("south", 0, -1), ("north", 0, 1)):
        draft.add_node(node, x * LEG_M, y * LEG_M)
        main = y == 0
        draft.add_street(
            "centre",
            node,
            lanes=2 if main else 1,
            speed_mps=SPEED_MPS,
            priority=3 if main else 2,
            pockets_at=("centre",),
            pocket_m=90.0 if main else 60.0,
            sidewalk=True,
        )
    draft.add_signal("centre", crossings_to=("west", "east", "south", "north"))
    return draft


def list_vehicle_rows() -> list[str]:
    """Cars and trucks as flows in veh/h, a set for each quarter of an hour."""
    rows = ['<vType id="car" vClass="passenger"/>', '<vType id="truck" vClass="truck"/>']
    for slot in range(len(MAIN_SHAPE)):
        for origin, destination, peak_vph in PEAK_FLOWS_VPH:
            shape = MAIN_SHAPE if origin in ("west", "east") else SIDE_SHAPE
            for kind, share in (("car", 1.0 - TRUCK_SHARE), ("truck", TRUCK_SHARE)):
                rows.append(
                    f'<flow id="{origin}_{destination}_{kind}_{slot}" type="{kind}"'
                    f' begin="{slot * SLOT_S}" end="{(slot + 1) * SLOT_S}"'
                    f' from="{origin}_centre" to="centre_{destination}"'
                    f' vehsPerHour="{peak_vph * shape[slot] * share:.1f}"'
                    ' departLane="best" departSpeed="max"/>'
                )
    return rows


def list_pedestrian_rows() -> list[str]:
    """Walks both ways over each crossing, evenly spread over the hour."""
    rows = []
    for leg, (start, end) in SIDEWALKS_ALONG.items():
        along = [f"{start}_centre_pocket", f"centre_{end}"]
        for way, edges in (("with", along), ("against", along[::-1])):
            rows += [
                f'<personFlow id="over_{leg}_{way}_traffic" begin="0" end="{4 * SLOT_S}"'
                f' perHour="{PEDESTRIANS_PER_HOUR / 2:g}" departPos="30">',
                f'    <walk edges="{" ".join(edges)}" arrivalPos="30"/>',
                "</personFlow>",
            ]
    return rows


if __name__ == "__main__":
    print(build(Path(__file__).parent))
