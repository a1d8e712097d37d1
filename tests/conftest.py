"""What every test process needs before it imports anything of ours."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Compiled kernels, recorded runs and matplotlib's fonts are kept in the checkout: all workers share them, the
# next run finds them warm, and nothing is left in the user's own cache.
os.environ.setdefault("XDG_CACHE_HOME", str(ROOT / ".cache"))

# Workers are processes; one thread each, so that two of them on two cores don't wait for each other.
for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

os.environ.setdefault("MPLBACKEND", "agg")
