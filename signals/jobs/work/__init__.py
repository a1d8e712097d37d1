"""The work of each kind of job. The functions are named here and imported when a job needs them."""

from __future__ import annotations

from collections.abc import Mapping

from signals.model.states import JobKind

WORKS: Mapping[JobKind, str] = {
    JobKind.READ_NETWORK: "signals.jobs.work.networks:read_network",
    JobKind.SCREEN: "signals.jobs.work.counts:screen_counts",
    JobKind.FORECAST: "signals.jobs.work.counts:forecast",
    JobKind.PLAN: "signals.jobs.work.plans:make_plan",
    JobKind.COMPARE: "signals.jobs.work.plans:compare_plans",
    JobKind.DEPLOY: "signals.jobs.work.street:deploy",
    JobKind.ROLL_BACK: "signals.jobs.work.street:roll_back",
    JobKind.EMERGENCY: "signals.jobs.work.emergency:plan_emergency",
}
"""Where the work of a kind is, as `module:function`."""
