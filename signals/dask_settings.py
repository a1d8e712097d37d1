"""What Dask is told wherever we use it: quiet, and one thread a process, as kernels are serial."""

from __future__ import annotations

from typing import Any

ONE_THREAD = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""Environment of a worker."""
QUIET: dict[str, Any] = {
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.tick.limit": "60s",
    "distributed.diagnostics.nvml": False,
}
"""Nothing that watches, profiles or warns beside the work."""
