"""Requests by the thousand, made of the API's document: what its schemas allow and what they forbid."""

from __future__ import annotations

import gzip
import io
import json
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import schemathesis
from hypothesis import strategies as st
from hypothesis.strategies._internal import regex
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext
from starlette.testclient import TestClient

import sumo_nets
from api.app import create_app
from api.deps import JSON
from api.document import operations_of
from api.routes import jobs
from api.uploads import COUNT_TYPES
from signals.formats.counts.delivery import CSV, NDJSON
from signals.formats.sumo.bundle import bundle_of
from signals.formats.sumo.config import read_scenario
from signals.settings import Settings
from signals.store.session import Store
from signals.store.tables import Forecast, ForecastSeries, IntersectionRow, Job, Stream, WarningRow
from tests.api.conftest import City

PHASES = ("examples", "coverage", "fuzzing", "stateful")

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "positive_data_acceptance", "negative_data_rejection", "use_after_free",
    "ensure_resource_availability", "missing_required_header", "ignored_auth", "unsupported_method",
    "object_level_authorization", "allow_header_conformance",
)  # fmt: skip
"""Every check that schemathesis knows of, but the one of the time that an answer takes."""

EXCLUDED: Mapping[str, Mapping[str, str]] = {}
"""Checks that can't say anything of an operation, and why: so far there are none."""

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


def throw_at(
    city: City,
    found: Mapping[str, Any],
    *,
    key: str | None,
    examples: int,
    seed: int,
    steps: int = 6,
    phases: Collection[str] = PHASES,
) -> Tally:
    """What comes of requests made of the document, with a key or without; the same seed gives the same ones."""
    _know_uploads()
    city.app.openapi_schema = None
    city.app.openapi_schema = _with_examples_of(city.app.openapi(), found)
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
            "phases": {phase: {"enabled": phase in phases} for phase in PHASES}
            | {"stateful": {"enabled": "stateful" in phases, "max-steps": steps}},
            "operations": [
                {"include-operation-id": operation, "checks": {check: {"enabled": False} for check in checks}}
                for operation, checks in EXCLUDED.items()
            ],
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", city.app, config=config)
    tally = Tally()
    with _short_watches(), _remembered_patterns(), warnings.catch_warnings():
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
def _remembered_patterns() -> Iterator[None]:
    """Strategies of patterns, made once each.

    hypothesis builds a class of characters letter by letter; for those of names and texts, of 55,000 letters, that
    takes longer than all requests together.
    """
    made, known = regex.regex_strategy, dict[tuple[object, ...], st.SearchStrategy[Any]]()

    def remembered(pattern: Any, fullmatch: bool, *, alphabet: Any, **more: Any) -> st.SearchStrategy[Any]:
        key = (pattern, fullmatch, getattr(alphabet, "intervals", alphabet), *more.items())
        if key not in known:
            known[key] = made(pattern, fullmatch, alphabet=alphabet, **more)
        return known[key]

    regex.regex_strategy = remembered
    try:
        yield
    finally:
        regex.regex_strategy = made


def _with_examples_of(document: dict[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The document, with what is in the store as examples; files are made elsewhere."""
    for operation in operations_of(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and parameter["name"] in found:
                parameter["schema"]["examples"] = [found[parameter["name"]]]
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            if media_type != JSON:
                del content["example"]
            elif "example" in content:
                content["example"] = {k: found.get(k, v) for k, v in content["example"].items()}
    return document


@contextmanager
def _short_watches() -> Iterator[None]:
    """Jobs are queued here and never end, so whoever watches one would wait for long."""
    before = jobs.LONGEST_WATCH_S, jobs.LOOK_EVERY_S
    jobs.LONGEST_WATCH_S, jobs.LOOK_EVERY_S = 0.02, 0.01
    try:
        yield
    finally:
        jobs.LONGEST_WATCH_S, jobs.LOOK_EVERY_S = before


# ------------------------------------------------------------------------------------------------- uploads

SINGLE = Path(sumo_nets.__path__[0]) / "single"
_numbers = count(1)
COUNTS = "/v1/networks/{network_id}/counts"


def _know_uploads() -> None:
    """Bodies that are files: small ones that are what their media type says."""
    counted = st.lists(st.integers(0, 500), min_size=2, max_size=6)
    net = (SINGLE / "single.net.xml").read_bytes()
    known: dict[str, st.SearchStrategy[bytes]] = {
        "application/zip": st.just(bundle_of(read_scenario(SINGLE / "single.sumocfg"))),
        "application/xml": st.just(net),
        "application/gzip": st.just(gzip.compress(net, mtime=0)),
    } | {media_type: counted.map(partial(_counts, media_type)) for media_type in COUNT_TYPES}
    for media_type, strategy in known.items():
        schemathesis.openapi.media_type(media_type, strategy)


def _current_version(case: Case) -> str | None:
    where = re.sub(r"(/events/[^/]*)/.*", r"\1", case.formatted_path)
    headers = {"Authorization": case.operation.schema.config.headers.get("Authorization", "")}
    answer = TestClient(case.operation.app).get(where, headers=headers)
    return answer.headers.get("etag")


def _counts(media_type: str, counts: list[int], step_min: int = 15) -> bytes:
    """Counts of one stream from a midnight on, as a file of this type."""
    begin = datetime(2026, 3, 2, tzinfo=UTC)
    times = [(begin + timedelta(minutes=k * step_min)).isoformat() for k in range(len(counts))]
    if media_type == CSV:
        rows = "".join(f"{time},drawn,{count}\n" for time, count in zip(times, counts))
        return f"time,series,count\n{rows}".encode()
    if media_type == NDJSON:
        lines = ({"series": "drawn", "time": time, "count": count} for time, count in zip(times, counts))
        return "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = io.BytesIO()
    pq.write_table(pa.table({"time": times, "series": ["drawn"] * len(counts), "count": counts}), file)
    return file.getvalue()


@schemathesis.hook("before_call")
def _suit(_context: HookContext, case: Case, sent: dict[str, Any]) -> None:
    """Make a file fit the rest of its request where that is to be taken, and garbage of it where it isn't.

    An Idempotency-Key gets a number, and every other If-Match is the current version: else almost all requests
    with one would be refused.
    """
    negative = case.meta is not None and case.meta.generation.mode.is_negative
    if "if-match" in (case.headers or {}) and not negative and next(_numbers) % 2:
        case.headers["if-match"] = _current_version(case) or case.headers["if-match"]
    key = (case.headers or {}).get("idempotency-key")
    if key is not None and not negative:
        case.headers["idempotency-key"] = f"{key[:190]}-{next(_numbers)}"
    if case.media_type == JSON or not isinstance(case.body, bytes):
        return
    if negative:
        sent["data"] = case.body[::-1]
        return
    body = case.body
    step_min = (case.query or {}).get("step_min")
    if case.path == COUNTS and step_min is not None:
        body = _counts(str(case.media_type), [3, 4], int(step_min))
    if (case.headers or {}).get("content-encoding") == "gzip":
        body = gzip.compress(body, mtime=0)
    sent["data"] = body


# ----------------------------------------------------------------------------------------- something to find


@contextmanager
def fuzz_city(store: Store, folder: Path) -> Iterator[tuple[City, dict[str, Any]]]:
    """A city on this store with one of everything and an open event, and what it is called."""
    url = store.url.render_as_string(hide_password=False)
    settings = Settings(data=folder, db=url, rate_limit="1000000/second", queue_limit=10**6)  # type: ignore[arg-type]
    city = City(store, create_app(settings))
    found = furnish(city, city.north)
    event = {"area_id": city.north, "kind": "complaint", "title": "Long red"}
    found["event_id"] = _json(city.as_("everyone").post("/v1/events", json=event))["id"]
    yield city, found
    city.app.state.store.close()
    store.close()


def furnish(city: City, area_id: int) -> dict[str, Any]:
    """One of everything in an area, of the names in paths; its jobs have ended, its plan is approved."""
    network = city.network(area_id)
    everyone = city.as_("everyone")
    request = _json(everyone.post("/v1/plan-requests", json={"network_id": network}))
    plan = city.made_plan(request["id"])
    comparison = everyone.get(f"/v1/plans/{plan}").json()["comparisons"][0]
    city.made_comparison(comparison)
    decision = {"decision": "approve", "comparison_id": comparison}
    approval = _json(city.as_("second").post(f"/v1/plans/{plan}/approvals", json=decision))
    controllers = _controllers(everyone, network)
    deployment = _json(everyone.post("/v1/deployments", json={"approval_id": approval["id"]}))
    push = {"time": "2026-03-02T07:00:00Z", "counts": {"north-through": 42}}
    _json(everyone.post(f"/v1/networks/{network}/counts/pushes", json=push))
    event = _closed_event(everyone, area_id)
    found: dict[str, Any] = {
        "area_id": area_id,
        "network_id": network,
        "request_id": request["id"],
        "plan_hash": plan,
        "plan": plan,
        "comparison_id": comparison,
        "job_id": request["job"]["id"],
        "approval_id": approval["id"],
        "controller_id": controllers[0],
        "deployment_id": deployment["id"],
        "event_id": event["id"],
        "event_version": event["version"],
        "kind": "sumo",
        "name": "plans.add.xml",
    }
    _end_jobs(city.store)
    return found | _forecast(city.store, network, area_id)


def _controllers(client: TestClient, network: int) -> list[int]:
    """A controller for each of a network's intersections."""
    rows = client.get(f"/v1/networks/{network}/intersections").json()["items"]
    units = [
        {"intersection_id": row["id"], "host": f"10.{network % 250}.0.{k + 1}"} for k, row in enumerate(rows)
    ]
    return [_json(client.post("/v1/controllers", json=unit))["id"] for unit in units]


def _closed_event(client: TestClient, area_id: int) -> dict[str, Any]:
    given = {"area_id": area_id, "kind": "complaint", "title": "Long red"}
    event = _json(client.post("/v1/events", json=given))
    for step in ("responses", "feedback"):
        where, seen = f"/v1/events/{event['id']}/{step}", {"If-Match": f'"{event["version"]}"'}
        event = _json(client.post(where, json={"text": "Looked at it."}, headers=seen))
    return event


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


def _end_jobs(store: Store) -> None:
    """End all jobs, so that watching one ends as well."""
    with store.writing() as session:
        for job in session.query(Job).filter(Job.state == "queued"):
            job.state, job.finished_at = "cancelled", datetime.now(UTC)


def _json(answer: Any) -> dict[str, Any]:
    assert answer.status_code < 300, answer.text
    return dict(answer.json())
