"""Signalised road networks that ship with Greensplit, ready to run in SUMO.

Four scenarios, one folder each, written for this project: ``single`` (one intersection with
pedestrians), ``arterial`` (eight signals in ring-barrier stages, a morning peak), ``grid`` (4 x 4) and
``corridor`` (21 signals on 7 km, for the way of an ambulance).
A folder holds the build script, the built ``.net.xml``, the demand, the ``.sumocfg`` and a README with
origin, phasing and measured delay.  ``sumo_nets.generator`` writes grids of any other size,
``sumo_nets.city`` whole cities with counts.

>>> from sumo_nets import find_network
>>> find_network("single").name
'single.sumocfg'
"""

from pathlib import Path

__all__ = ["NETWORKS", "find_counts", "find_network", "list_networks"]

NETWORKS: tuple[str, ...] = ("single", "arterial", "grid", "corridor")


def list_networks() -> tuple[str, ...]:
    """Names of the shipped networks."""
    return NETWORKS


def find_network(name: str) -> Path:
    """Path of the ``.sumocfg`` of a shipped network.

    Raises
    ------
    ValueError
        When no network has that name; the message lists those that exist.
    """
    if name not in NETWORKS:
        raise ValueError(f"no shipped network is called {name!r}: choose one of {', '.join(NETWORKS)}")
    return Path(__file__).parent / name / f"{name}.sumocfg"


def find_counts(name: str) -> Path:
    """Path of the counts that ship with a network, a wide table by approach edge.

    Raises
    ------
    ValueError
        When there are none.
    """
    path = find_network(name).with_name("counts.csv.gz")
    if not path.exists():
        raise ValueError(f"no counts ship with network {name!r}; they do with arterial")
    return path
