"""Options of a .sumocfg: which of them change traffic and nothing else, and a .sumocfg made of those.

The others write to any path, load states, run scripts and listen on ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from signals.errors import InputError
from signals.formats.sumo.config import SYNONYMS, Scenario
from signals.formats.sumo.xml import elements, root_tag

CONFIG_ROOTS = ("configuration", "sumoConfiguration")
"""Outermost elements of a .sumocfg."""
_VALIDATION = ("xml-validation", "xml-validation.net", "xml-validation.routes")
_SYNONYMS = {
    **SYNONYMS,
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

INPUTS = ("net-file", "route-files", "additional-files")
"""Options that name the files of a scenario."""

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


def traffic_options(config: Path) -> tuple[dict[str, str], list[str]]:
    """Options of a .sumocfg that change nothing but traffic, files included, and the names of all others.

    Raises
    ------
    InputError
        Where the file is broken, is no .sumocfg, or has a variable of the environment in a value.
    """
    root = root_tag(config)
    if root not in CONFIG_ROOTS:
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
            if option in OPTIONS_KEPT or option in INPUTS:
                kept[option] = value
            elif value.strip() and option not in _VALIDATION:
                dropped.append(option)
    for option, value in kept.items():
        if "$" in value:
            raise InputError(
                f"{config}: {option} {value[:80]!r}: variables of the environment aren't filled in; "
                "write the value itself"
            )
    return kept, dropped


def split_files(value: str) -> list[str]:
    """The names in a list of files as SUMO has it."""
    return [part.strip() for part in value.split(",") if part.strip()]


def window_options(scenario: Scenario) -> dict[str, str]:
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
    for key in INPUTS:
        names = [str(path) for path in files.get(key, ())]
        if names:
            SubElement(inputs, key, value=",".join(names))
    kept = SubElement(root, "processing")
    for option in sorted(set(options) - set(INPUTS)):
        SubElement(kept, option, value=options[option])
    # Validation could fetch schemas from the network; the files have been checked.
    report = SubElement(root, "report")
    for option in _VALIDATION:
        SubElement(report, option, value="never")
    indent(root, "    ")
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"
