"""Build the ``grid`` scenario: ``python -m sumo_nets.grid.build``."""

from pathlib import Path

from sumo_nets.generator import generate_grid

SEED = 1926


def build(directory: Path) -> Path:
    """Write network, demand and configuration into `directory`; returns the ``.sumocfg``."""
    return generate_grid(4, 4, seed=SEED, directory=directory)


if __name__ == "__main__":
    print(build(Path(__file__).parent))
