"""Thousands of requests made of the API's document, and how each operation answered them.

    python -m benchmarks.fuzz --cases 5000

With a key that may do everything, and then without one; on SQLite, or with `--database postgresql` on a server of
its own. Ends with 1 where anything wasn't as the document says. The same seed asks the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.api.fuzzing import Tally, fuzz_city, throw_at
from tests.conftest import BACKENDS, Databases

COVERAGE, OPERATIONS = 3200, 56
"""Cases of the phase that takes every border of the schemas once, and operations that take any number beyond."""


def main() -> int:
    """Throw requests, print the counts, and say whether all was well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=5000, help="requests at least, with a key")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=BACKENDS, default="sqlite")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        databases = Databases(Path(folder))
        whole = Tally()
        examples = max(2, -(-(asked.cases - COVERAGE) // OPERATIONS))
        seed = asked.seed
        while whole.cases.total() < asked.cases:
            whole.add(_thrown(databases, asked.database, Path(folder), examples, seed, with_key=True))
            seed += 1
        anonymous = _thrown(databases, asked.database, Path(folder), 3, asked.seed, with_key=False)
        databases.close()
    for wrong in [*whole.wrong, *anonymous.wrong]:
        print(wrong, end="\n\n")
    found = len(whole.wrong) + len(anonymous.wrong)
    total = whole.cases.total() + anonymous.cases.total()
    print(
        f"{total} cases, {sum(whole.checks.values()) + sum(anonymous.checks.values())} checks, {found} wrong"
    )
    return 1 if found else 0


def _thrown(
    databases: Databases, backend: str, folder: Path, examples: int, seed: int, *, with_key: bool
) -> Tally:
    began = time.monotonic()
    with fuzz_city(databases.fresh(backend), folder) as (city, found):
        key = city.keys["everyone"] if with_key else None
        tally = throw_at(city, found, key=key, examples=examples, seed=seed)
    took_s = time.monotonic() - began
    print(f"{'with' if with_key else 'without'} a key, seed {seed}, on {backend}: {took_s:.0f} s")
    print(tally.table(), end="\n\n")
    return tally


if __name__ == "__main__":
    sys.exit(main())
