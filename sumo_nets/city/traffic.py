"""The traffic of a made-up city: how many vehicles each movement has in the mean, by what they are on the road for.

Vehicles enter where roads end and turn by shares until they leave.  That is a linear system, flow = entering + what
turns in from upstream, so what reaches a link is what leaves the one before, exactly.  It is solved once a purpose:
to work in the morning, home in the evening, and all other traffic; the first two lean towards and away from the
centres.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sumo_nets.city.days import PURPOSES, at_peaks
from sumo_nets.city.streets import CENTRE_EVERY, HEADINGS, TURNS, City, turned
from sumo_nets.generator import ARTERIAL_ENTRY_VPH, RIGHT, SIDE_ENTRY_VPH, STEP, TURN_SHARES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAN = (0.2, -0.2, 0.0)  # of turns towards the centre, by purpose, as a logarithm of their share
OUTSKIRTS = (
    0.25,
    -0.25,
    0.0,
)  # more or less than the mean that enters at the edge of a centre's surroundings
DISTRICT_SPREAD = 0.06  # of what enters, between districts and between roads, as a logarithm
ROAD_SPREAD = 0.1
SHARE_SPREAD = 0.15  # of turning shares, between approaches

SATURATION_VPH = 1750.0
LEFT_EQUIVALENT = 2.5  # through vehicles that a left turn through gaps is worth
LOST_A_STAGE_S = 5.5
PEAK_CYCLE_S = 100.0
BUSY_SHARE, BUSY_VC = 0.98, 0.85
"""This share of all signals is below this v/c in the peaks, at a good split of a cycle of `PEAK_CYCLE_S`."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """Vehicles an hour by purpose, where each is at its peak.

    Fields
    ------
    flow_vph : float64[n_approach, n_purpose]; approach 4 i + k is signal i's, with the k-th heading
    share : float64[n_approach, 3, n_purpose], of right turns, through and left turns
    next_approach : int64[n_approach, 3], where a movement comes next, -1 where its road ends
    entering_vph : float64[n_approach, n_purpose], of `flow_vph` what begins its way there
    """

    flow_vph: Floats
    share: Floats
    next_approach: Ints
    entering_vph: Floats

    @property
    def movement_vph(self) -> Floats:
        """Vehicles an hour of each movement, float64[n_approach, 3, n_purpose]."""
        return np.asarray(self.flow_vph[:, None, :] * self.share)


def load(city: City, rng: np.random.Generator) -> Traffic:
    """Traffic that is heavy for the city's signals, and no more than that: see `BUSY_VC`."""
    following = _next_approaches(city)
    roads = _Roads.of(city)
    entering = _entering(city, roads, following, rng)
    share = _shares(city, roads, rng)
    flow = np.stack(
        [propagate(entering[:, k], share[:, :, k], following) for k in range(len(PURPOSES))], axis=1
    )
    vc = peak_vc(city, flow[:, None, :] * share).max(axis=1)
    scale = BUSY_VC / float(np.quantile(vc, BUSY_SHARE))
    return Traffic(scale * flow, share, following, scale * entering)


def propagate(entering: Floats, share: Floats, following: Ints) -> Floats:
    """Flow of each approach, float64[n_approach], from what enters there and what turns in from upstream."""
    goes_on = following >= 0
    towards = following[goes_on]
    flow = entering
    while True:
        turning = (flow[:, None] * share)[goes_on]
        after = entering + np.bincount(towards, weights=turning, minlength=len(entering))
        if np.abs(after - flow).max() < 1e-9:
            return after
        flow = after


@dataclass(frozen=True, eq=False)
class _Roads:
    """What the approaches are: on an arterial, across one, with a pocket; towards the centre, and far from it."""

    arterial: NDArray[np.bool_]
    across_arterial: NDArray[np.bool_]
    pocket: NDArray[np.bool_]
    to_centre: Floats  # cosine of the heading and the way to the nearest centre
    distance: Floats  # from that centre: 0 there, 1 where the next centre is as near

    @classmethod
    def of(cls, city: City) -> "_Roads":
        arterial = [city.kind(p, h) == "arterial" for p in city.district for h in HEADINGS]
        across = [city.kind(p, RIGHT[h]) == "arterial" for p in city.district for h in HEADINGS]
        pocket = [city.has_pocket(p, h) for p in city.district for h in HEADINGS]
        at = np.array([city.at_m(place) for place in city.district])
        centres = _centres(city, at)
        apart = centres[None, :, :] - at[:, None, :]
        far = np.hypot(apart[..., 0], apart[..., 1])
        nearest = np.argmin(far, axis=1)
        rows = np.arange(len(at))
        way = apart[rows, nearest] / np.maximum(far[rows, nearest], 1.0)[:, None]
        distance = far[rows, nearest] / max(float(far[rows, nearest].max()), 1.0)
        east_north = np.array([STEP[heading][::-1] for heading in HEADINGS], dtype=np.float64)
        return cls(
            np.array(arterial),
            np.array(across),
            np.array(pocket),
            (way @ east_north.T).ravel(),
            np.repeat(distance, len(HEADINGS)),
        )


def _centres(city: City, at_m: Floats) -> Floats:
    """Middles of the districts to which people drive to work, metres, float64[n_centre, 2]."""
    north, east = city.seats[0]
    district = np.array(list(city.district.values()))
    middles = [
        at_m[district == number].mean(axis=0)
        for number, seat in enumerate(city.seats)
        if not ((seat[0] - north) % CENTRE_EVERY or (seat[1] - east) % CENTRE_EVERY)
    ]
    return np.array(middles)


def _next_approaches(city: City) -> Ints:
    following = np.full((len(HEADINGS) * len(city.district), len(TURNS)), -1, dtype=np.int64)
    for row, (place, heading) in enumerate((p, h) for p in city.district for h in HEADINGS):
        for turn, out in enumerate(turned(heading)):
            there = city.find_next(place, out)
            if there is not None:
                following[row, turn] = len(HEADINGS) * city.index[there] + HEADINGS.index(out)
    return following


def _entering(city: City, roads: _Roads, following: Ints, rng: np.random.Generator) -> Floats:
    begins = np.ones(len(following), dtype=np.bool_)
    begins[following[following >= 0]] = False
    district = np.repeat(np.array(list(city.district.values())), len(HEADINGS))
    level = rng.normal(0.0, DISTRICT_SPREAD, len(city.cycle_s))[district]
    level += rng.normal(0.0, ROAD_SPREAD, len(following))
    usual = np.where(roads.arterial, ARTERIAL_ENTRY_VPH, SIDE_ENTRY_VPH) * np.exp(level) * begins
    outskirts = 1.0 + np.array(OUTSKIRTS)[None, :] * (2.0 * roads.distance[:, None] - 1.0)
    return np.asarray(usual[:, None] * outskirts)


def _shares(city: City, roads: _Roads, rng: np.random.Generator) -> Floats:
    names = np.array(["side", "arterial"])
    usual = np.empty((len(roads.arterial), len(TURNS)))
    for (along, across), (right, left) in TURN_SHARES.items():
        these = (names[roads.arterial.astype(int)] == along) & (
            names[roads.across_arterial.astype(int)] == across
        )
        usual[these] = right, 1.0 - right - left, left
    usual *= np.exp(rng.normal(0.0, SHARE_SPREAD, usual.shape) * np.array([1.0, 0.0, 1.0]))
    to_centre = roads.to_centre.reshape(-1, len(HEADINGS))
    out = np.array([[HEADINGS.index(h) for h in turned(heading)] for heading in HEADINGS])
    lean = to_centre[:, out].reshape(-1, len(TURNS), 1) * np.array(LEAN)
    share = usual[:, :, None] * np.exp(lean)
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def peak_vc(city: City, movement_vph: Floats) -> Floats:
    """Critical v/c of each signal in the morning and the evening peak, float64[n_signal, 2], at a good split.

    By the sum of critical flow ratios (HCM, chapter 19), with the stages of the timing sheets and a cycle of
    `PEAK_CYCLE_S`: crude, and good enough to say how heavy traffic may be.
    """
    roads = _Roads.of(city)
    peaks = movement_vph @ at_peaks().T
    right, through, left = (peaks[:, k, :] for k in range(len(TURNS)))
    lanes = np.where(roads.arterial, 2.0, 1.0)[:, None]
    pocket = roads.pocket[:, None]
    shared = np.where(pocket, 0.0, left * LEFT_EQUIVALENT)
    straight = (right + through + shared) / lanes / SATURATION_VPH
    arrow = np.where(pocket, left / SATURATION_VPH, 0.0)
    n = len(city.district)
    straight, arrow = (ratio.reshape(n, 2, 2, 2) for ratio in (straight, arrow))  # signal, way, road, peak
    busiest = straight.max(axis=1).sum(axis=1) + arrow.max(axis=1).sum(axis=1)
    stages = 2 + pocket[:, 0].reshape(n, 2, 2).any(axis=1).sum(axis=1)
    return np.asarray(busiest / (1.0 - stages * LOST_A_STAGE_S / PEAK_CYCLE_S)[:, None])
