"""Requests by the thousand, made of the API's document: what its schemas allow and what they forbid."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

import sumo_nets
from api.routes import jobs
from signals.formats.sumo.bundle import bundle_of
from signals.formats.sumo.config import read_scenario
from signals.store.session import Store
from signals.store.tables import Event, Forecast, ForecastSeries, IntersectionRow, Job, Stream, WarningRow
from tests.api.conftest import City

PHASES = ("examples", "coverage", "fuzzing", "stateful")

EXCLUDED: Mapping[str, tuple[str, ...]] = {}
"""Checks that say nothing of an operation, and why."""

STATUSES = {
    # a version that isn't the current one is well formed
    "positive_data_acceptance": ["2xx", "3xx", "401", "403", "404", "409", "412", "429"],
    # 428: If-Match is missing (RFC 6585)
    "missing_required_header": ["401", "415", "422", "428"],
}
"""What is as it should be beyond, or short of, what schemathesis takes for granted."""


@dataclass
class Tally:
    """What was asked, how often in which phase, and what wasn't as it should be."""

    cases: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def of_phase(self, phase: str) -> int:
        """Cases of one phase."""
        return sum(count for (_, of), count in self.cases.items() if of == phase)

    def add(self, other: Tally) -> None:
        """Count another run along."""
        self.cases += other.cases
        self.answers += other.answers
        self.checks += other.checks
        self.wrong += other.wrong

    def table(self) -> str:
        """Cases for each operation and phase, and how they were answered."""
        labels = sorted({label for label, _ in self.cases})
        lines = ["".join([f"{'':58}", *(f"{phase:>10}" for phase in PHASES), "  answers"])]
        for label in labels:
            counts = "".join(f"{self.cases[label, phase]:10}" for phase in PHASES)
            found = sorted((status, n) for (of, status), n in self.answers.items() if of == label)
            lines.append(f"{label:58}{counts}  " + " ".join(f"{status}:{n}" for status, n in found))
        total = "".join(f"{self.of_phase(phase):10}" for phase in PHASES)
        lines.append(f"{'all':58}{total}  {self.cases.total()} cases")
        return "\n".join(lines)


def throw_at(city: City, *, key: str | None, examples: int, seed: int, steps: int = 6) -> Tally:
    """What comes of requests made of the document, with a key or without; the same seed gives the same ones."""
    _know_uploads()
    city.app.openapi_schema = None
    generation = {"max-examples": examples, "deterministic": True, "database": "none", "no-shrink": True}
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            "generation": generation,
            "continue-on-failure": True,
            "max-stream-events": 3,
            "checks": {
                **{name: {"expected-statuses": statuses} for name, statuses in STATUSES.items()},
            },
            "phases": {
                "coverage": {"generate-duplicate-query-parameters": False},
                "stateful": {"max-steps": steps, "generation": {"max-examples": max(2, examples)}},
            },
            "operations": [
                {"include-operation-id": operation, "checks": {check: {"enabled": False} for check in checks}}
                for operation, checks in EXCLUDED.items()
            ],
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", city.app, config=config)
    tally = Tally()
    with _short_watches(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for event in from_schema(schema).execute():
            _count(event, tally)
    return tally


def _count(event: events.EngineEvent, tally: Tally) -> None:
    if isinstance(event, events.NonFatalError):
        tally.wrong.append(f"{event.label}: {event.value!r}")
    elif isinstance(event, events.FatalError):
        tally.wrong.append(repr(event.exception))
    if not isinstance(event, events.ScenarioFinished):
        return
    recorder, phase = event.recorder, str(event.phase.value).lower()
    for number, node in recorder.cases.items():
        label = node.value.operation.label
        tally.cases[label, phase] += 1
        answer = recorder.find_response(case_id=number)
        if answer is not None:
            tally.answers[label, answer.status_code] += 1
        for check in recorder.checks.get(number, []):
            tally.checks[check.name] += 1
            if check.status is Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info
                told = answer.text[:600] if answer is not None else ""
                tally.wrong.append(
                    f"{label} [{phase}] {check.name}: {failure.failure.title}\n{failure.failure.message}\n"
                    f"{failure.code_sample[:1500]}\n{told}"
                )


@contextmanager
def _short_watches() -> Iterator[None]:
    """Jobs are queued here and never end, so whoever watches one would wait for long."""
    before = jobs.LONGEST_WATCH_S, jobs.LOOK_EVERY_S
    jobs.LONGEST_WATCH_S, jobs.LOOK_EVERY_S = 0.02, 0.01
    yield
    jobs.LONGEST_WATCH_S, jobs.LOOK_EVERY_S = before


# ------------------------------------------------------------------------------------------------- uploads


def _know_uploads() -> None:
    """Bodies that are files: small ones that are what their media type says."""
    single = sumo_nets.__path__[0] + "/single"
    from pathlib import Path

    zipped = bundle_of(read_scenario(Path(single) / "single.sumocfg"))
    known: dict[str, st.SearchStrategy[bytes]] = {
        "application/zip": st.just(zipped),
        "application/xml": st.just((Path(single) / "single.net.xml").read_bytes()[:20_000]),
        "application/gzip": st.just(b"\x1f\x8b" + bytes(20)),
        "text/csv": st.builds(_csv, _COUNTS),
        "application/x-ndjson": st.builds(_ndjson, _COUNTS),
        "application/vnd.apache.parquet": st.builds(_parquet, _COUNTS),
    }
    for media_type, strategy in known.items():
        schemathesis.openapi.media_type(media_type, strategy)


_COUNTS = st.lists(st.integers(0, 500), min_size=1, max_size=8)


def _times(counts: list[int]) -> list[str]:
    return [f"2026-03-02T07:{15 * (k % 4):02d}:00Z" if k < 4 else f"2026-03-02T08:{15 * (k - 4):02d}:00Z" for k in range(len(counts))]


def _csv(counts: list[int]) -> bytes:
    rows = "".join(f"{time},drawn,{count}\n" for time, count in zip(_times(counts), counts))
    return f"time,series,count\n{rows}".encode()


def _ndjson(counts: list[int]) -> bytes:
    import json

    lines = ({"series": "drawn", "time": t, "count": c} for t, c in zip(_times(counts), counts))
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def _parquet(counts: list[int]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    table = pa.table({"time": _times(counts), "series": ["drawn"] * len(counts), "count": counts})
    pq.write_table(table, file)
    return file.getvalue()


# ----------------------------------------------------------------------------------------- something to find


def furnish(city: City) -> dict[str, Any]:
    """One of everything in the north, with jobs that have ended; what it is called, by the names in paths."""
    network = city.network()
    engineer = city.as_("engineer")
    request = _json(engineer.post("/v1/plan-requests", json={"network_id": network}))
    plan = city.made_plan(request["id"])
    comparison = engineer.get(f"/v1/plans/{plan}").json()["comparisons"][0]
    city.made_comparison(comparison)
    push = {"time": "2026-03-02T07:00:00Z", "counts": {"north-through": 42}}
    _json(engineer.post(f"/v1/networks/{network}/counts/pushes", json=push))
    event = {"area_id": city.north, "kind": "complaint", "title": "Long red"}
    found: dict[str, Any] = {
        "area_id": city.north,
        "network_id": network,
        "request_id": request["id"],
        "plan_hash": plan,
        "comparison_id": comparison,
        "job_id": request["job"]["id"],
        "event_id": _json(engineer.post("/v1/events", json=event))["id"],
    }
    return found | _forecast(city.store, network, city.north)


def _forecast(store: Store, network: int, area: int) -> dict[str, int]:
    now = datetime(2026, 3, 2, 8, tzinfo=UTC)
    with store.writing() as session:
        signal = session.query(IntersectionRow).filter_by(network_id=network).first()
        stream = session.query(Stream).filter_by(network_id=network).first()
        assert signal is not None
        assert stream is not None
        job = Job(
            kind="forecast", area_id=area, subject=f"networks/{network}", arguments={}, state="done",
            created_by=1, created_at=now,
        )  # fmt: skip
        session.add(job)
        session.flush()
        forecast = Forecast(
            network_id=network, job_id=job.id, made_at=now, origin_at=now, step_min=15, horizon=2,
            levels=[0.9], inputs_sha256="0" * 64, left_out=0,
        )  # fmt: skip
        session.add(forecast)
        session.flush()
        values = np.ones((2, 2), dtype="<f4").tobytes()
        session.add(ForecastSeries(forecast_id=forecast.id, stream_id=stream.id, values=values))
        facts = {
            "approach": "a", "movement": "a:left", "start": "2026-03-02T09:00", "end": "2026-03-02T09:30",
            "slots": 2, "peak": "2026-03-02T09:00", "peak_probability": 0.8, "peak_movement": "a:left",
            "excess_veh": 3.5, "vc_mean": 1.1, "vc_q90": 1.2,
        }  # fmt: skip
        warning = WarningRow(
            forecast_id=forecast.id, area_id=area, intersection_id=signal.id, begins_at=now,
            ends_at=now + timedelta(minutes=30), facts=facts,
        )  # fmt: skip
        session.add(warning)
        session.flush()
        return {
            "intersection_id": signal.id,
            "stream_id": stream.id,
            "forecast_id": forecast.id,
            "warning_id": warning.id,
        }


def end_jobs(store: Store) -> None:
    """End all jobs, so that watching one ends as well."""
    with store.writing() as session:
        for job in session.query(Job).filter(Job.state == "queued"):
            job.state, job.finished_at = "cancelled", datetime.now(UTC)


def _json(answer: Any) -> dict[str, Any]:
    assert answer.status_code < 300, answer.text
    return dict(answer.json())
