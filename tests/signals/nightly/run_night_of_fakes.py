"""`python -m tests.signals.nightly.run_night_of_fakes FOLDER SIGNALS WORKERS [SCHEDULER]`: a night to be killed."""

from __future__ import annotations

import json
import signal
import sys
from functools import partial
from pathlib import Path

from signals.nightly.night import run_night
from signals.nightly.pool import open_pool
from tests.signals.nightly.fakes import DAY, STEPS, WITH_SUMO, City


def main(folder: str, signals: str, workers: str, scheduler: str | None = None) -> None:
    """Run the night, and print what came of it."""
    # a shell that starts us in the background has us ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    city = City(Path(folder), int(signals))
    city.folder.mkdir(exist_ok=True)
    pool = partial(open_pool, int(workers), scheduler)
    print(json.dumps(run_night(city, city.folder, DAY, WITH_SUMO, STEPS, pool)))


if __name__ == "__main__":
    main(*sys.argv[1:])
