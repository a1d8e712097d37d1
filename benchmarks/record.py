"""Run the studies of the core and write what they print into docs/benchmarks.md, with machine, versions and command.

    python -m benchmarks.record [NAME ...]

Each study is a module of its own that prints a table; its figures come from one run. What it prints replaces
what stands between the marks `<!-- NAME: begin -->` and `<!-- NAME: end -->`. Without names all are run, which takes
about half an hour on two cores; the studies of whole networks take longer and run only when they are named.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
FOUR = "cologne1 cologne3 grid4x4 arterial4x4"
CORE: Mapping[str, str] = {
    "delay": "benchmarks.delay",
    "splits": "benchmarks.splits --instances 1020 --mean 20 --cvar 12",
    "stage-splits": "benchmarks.stage_splits --cases 100 --cp-sat 15 --limit 5",
    "left-turns": "benchmarks.left_turns",
    "isolated": "benchmarks.isolated",
    "offsets": "benchmarks.offsets --cap 30",
    "bandwidth": "benchmarks.bandwidth",
    "queues": "benchmarks.meso",
    "surrogate": f"benchmarks.surrogate {FOUR} --plans 60",
}
NETWORKS: Mapping[str, str] = {
    "keep": "benchmarks.resco --seeds 10 --first-seed 1001",
    "keep-none": f"benchmarks.resco {FOUR} --refine none --seeds 10 --first-seed 1001",
    "drop": "benchmarks.resco cologne1 cologne3 grid4x4 --stages drop-protected --seeds 10 --first-seed 1001",
    "drop-none": (
        "benchmarks.resco cologne1 cologne3 grid4x4 --stages drop-protected --refine none "
        "--seeds 10 --first-seed 1001"
    ),
    "polish": f"benchmarks.resco {FOUR} --refine sumo --budget 10 --seeds 10 --first-seed 1001",
    "nights": "benchmarks.nightly --sizes 100,300,1000,3000 --workers 2",
    "night-workers": "benchmarks.nightly --sizes 300 --workers 2 --addresses",
    "night-kills": "benchmarks.nightly --sizes 30 --workers 2 --kills 30",
    "day-plans": "benchmarks.tod",
    "loop": "benchmarks.loop --networks arterial,grid,cologne3",
    "loop-drop": "benchmarks.loop --networks arterial,grid,cologne3 --stages drop-protected",
    "polish-drop": (
        "benchmarks.resco cologne1 cologne3 --stages drop-protected --refine sumo --budget 10 "
        "--seeds 10 --first-seed 1001"
    ),
}
PACKAGES = ("numpy", "numba", "ortools", "eclipse-sumo")


def machine() -> str:
    """The machine and the versions that a figure belongs to, on one line."""
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    processor = found.group(1) if found else platform.machine()
    return f"{date.today()}, {processor}, Python {platform.python_version()}, {versions}"


def write(page: Path, name: str, text: str) -> None:
    """Replace what stands between a study's marks.

    Raises
    ------
    SystemExit
        Where the page has no such marks.
    """
    old = page.read_text()
    marks = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
    if not re.search(marks, old, re.DOTALL):
        raise SystemExit(
            f"{page}: has no marks for {name}; add <!-- {name}: begin --> and <!-- {name}: end -->"
        )
    page.write_text(re.sub(marks, lambda m: f"{m.group(1)}{text}{m.group(2)}", old, flags=re.DOTALL))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the studies that are asked for, one after the other."""
    every = {**CORE, **NETWORKS}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(every))
    names = parser.parse_args(arguments).names or list(CORE)
    unknown = [name for name in names if name not in every]
    if unknown:
        parser.error(f"no study {unknown[0]}; there are {', '.join(every)}")
    for name in names:
        command = every[name]
        print(f"{name}: python -m {command}", flush=True)
        ended = subprocess.run([sys.executable, "-m", *command.split()], stdout=subprocess.PIPE, text=True)
        if ended.returncode:
            raise SystemExit(f"{name}: python -m {command} ended with {ended.returncode}")
        print(ended.stdout, flush=True)
        write(PAGE, name, f"`python -m {command}`; {machine()}\n\n{ended.stdout.strip()}\n")


if __name__ == "__main__":
    main()
