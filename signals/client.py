"""A small typed client of the service.

    with Client("https://greensplit.example.org", key) as service:
        network = service.upload_network(Path("main-street.zip"), "Main Street")
        service.wait(network.job_id)
        request = service.request_plan(NewPlanRequest(network_id=network.id))
        job = service.wait(request.job.id)
        plan = service.plan(job.result["plan"])

What is created is sent with a key of its own, so that a request that was cut off can be sent again and is still
done once; that, and waiting where the service says so, happens by itself.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from signals.errors import GreensplitError
from signals.model.states import ENDED, JobState
from signals.wire.areas import AreaShown, DutiesGiven, DutiesShown, NewArea
from signals.wire.audit import AuditVerified
from signals.wire.base import Page, Problem
from signals.wire.counts import CountPush, Existing, Quality, Received, StreamShown
from signals.wire.emergency import NewEmergencyPlan
from signals.wire.events import (
    EventShown,
    EventSummary,
    FeedbackGiven,
    NewEventAtIntersection,
    NewEventInArea,
    ResponseGiven,
)
from signals.wire.forecasts import ForecastSeriesShown, ForecastShown, NewForecast, NewScreening
from signals.wire.jobs import JobShown
from signals.wire.networks import CorridorShown, IntersectionShown, NetworkShown
from signals.wire.people import Me
from signals.wire.plans import (
    ApprovalShown,
    ComparisonShown,
    NewApproval,
    NewComparison,
    NewPlanRequest,
    PlanRequestShown,
    PlanShown,
)
from signals.wire.street import (
    ControllerChange,
    ControllerShown,
    DeploymentShown,
    DeploymentSummary,
    NewController,
    NewDeployment,
    RollBack,
)
from signals.wire.warnings import WarningShown

Model = TypeVar("Model", bound=BaseModel)
TIMEOUT_S = 60.0
TRIES = 6
LONGEST_PAUSE_S = 30.0
MEDIA_TYPES = {
    ".zip": "application/zip",
    ".xml": "application/xml",
    ".gz": "application/gzip",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}


class ServiceError(GreensplitError):
    """The service refused a request, or could not be reached. `status` is 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0, problem: Problem | None = None) -> None:
        self.status = status
        self.problem = problem
        super().__init__(message)


class JobFailed(ServiceError):
    """A job ended without a result; `job` says how."""

    def __init__(self, job: JobShown) -> None:
        self.job = job
        super().__init__(f"job {job.id} ({job.kind}) is {job.state}: {job.problem or 'it was cancelled'}")


class Client:
    """The service at a URL, with a key. Every method raises `ServiceError` where the service refuses."""

    def __init__(
        self, url: str, key: str, *, timeout_s: float = TIMEOUT_S, http: httpx2.Client | None = None
    ) -> None:
        """Nothing is sent yet. `http` may bring another transport, as tests do."""
        self._http = http or httpx2.Client(base_url=url, timeout=timeout_s)
        self._http.headers["Authorization"] = f"Bearer {key}"
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    # ------------------------------------------------------------------------------------ who and where

    def me(self) -> Me:
        """Who the key belongs to, and what that person may do where."""
        return self._get("/v1/me", Me)

    def list_areas(self) -> Iterator[AreaShown]:
        """The areas that one may see."""
        return self._pages("/v1/areas", AreaShown)

    def create_area(self, area: NewArea) -> AreaShown:
        """A new area."""
        return self._post("/v1/areas", AreaShown, area)

    def set_duties(self, area_id: int, duties: DutiesGiven) -> DutiesShown:
        """Who answers for an area from now on."""
        tag = self._send("GET", f"/v1/areas/{area_id}/duties").headers["etag"]
        answer = self._send("PUT", f"/v1/areas/{area_id}/duties", body=duties, headers={"If-Match": tag})
        return _read(answer, DutiesShown)

    # ---------------------------------------------------------------------------------------- networks

    def upload_network(
        self, content: Path | bytes, name: str, *, area_id: int = 1, timezone: str = "UTC"
    ) -> NetworkShown:
        """Upload a network: a zip of a .sumocfg with its files, or a .net.xml. A job reads it (`job_id`)."""
        data, media_type = _file(content, "application/zip")
        query = {"name": name, "area_id": area_id, "timezone": timezone}
        return self._post("/v1/networks", NetworkShown, data=data, media_type=media_type, query=query)

    def list_networks(self, *, name: str | None = None) -> Iterator[NetworkShown]:
        """The networks that one may see."""
        return self._pages("/v1/networks", NetworkShown, name=name)

    def network(self, network_id: int) -> NetworkShown:
        """One network."""
        return self._get(f"/v1/networks/{network_id}", NetworkShown)

    def list_intersections(self, network_id: int) -> Iterator[IntersectionShown]:
        """The intersections of a network."""
        return self._pages(f"/v1/networks/{network_id}/intersections", IntersectionShown)

    def list_corridors(self, network_id: int) -> Iterator[CorridorShown]:
        """The corridors of a network."""
        return self._pages(f"/v1/networks/{network_id}/corridors", CorridorShown)

    # ------------------------------------------------------------------------------------------ counts

    def send_counts(
        self,
        network_id: int,
        content: Path | bytes,
        *,
        media_type: str = "text/csv",
        existing: Existing = Existing.REFUSE,
        timezone: str | None = None,
    ) -> Received:
        """Deliver a file of counts; all of it is kept or nothing."""
        data, found = _file(content, media_type)
        headers = {}
        if isinstance(content, Path) and content.suffix == ".gz":
            found = MEDIA_TYPES.get(Path(content.stem).suffix, media_type)
            headers["Content-Encoding"] = "gzip"
        query = {"existing": existing.value, **({"timezone": timezone} if timezone else {})}
        path = f"/v1/networks/{network_id}/counts"
        return self._post(path, Received, data=data, media_type=found, query=query, headers=headers)

    def push_counts(self, network_id: int, push: CountPush) -> Received:
        """Deliver the counts of one interval."""
        return self._post(f"/v1/networks/{network_id}/counts/pushes", Received, push)

    def list_streams(self, network_id: int) -> Iterator[StreamShown]:
        """The streams of a network, and the days of which there are counts."""
        return self._pages(f"/v1/networks/{network_id}/streams", StreamShown)

    def screen(self, network_id: int, given: NewScreening) -> JobShown:
        """Have counts looked through; `quality` shows what was found once the job is done."""
        return self._post(f"/v1/networks/{network_id}/screenings", JobShown, given)

    def quality(self, network_id: int) -> Quality:
        """How complete the counts are, and what the last screening found."""
        return self._get(f"/v1/networks/{network_id}/quality", Quality)

    def request_forecast(self, network_id: int, given: NewForecast) -> JobShown:
        """Ask for a forecast; the job's result names it."""
        return self._post(f"/v1/networks/{network_id}/forecasts", JobShown, given)

    def forecast(self, forecast_id: int) -> ForecastShown:
        """One forecast."""
        return self._get(f"/v1/forecasts/{forecast_id}", ForecastShown)

    def list_forecast_series(self, forecast_id: int) -> Iterator[ForecastSeriesShown]:
        """The figures of a forecast, stream by stream."""
        return self._pages(f"/v1/forecasts/{forecast_id}/series", ForecastSeriesShown)

    def list_warnings(self, network_id: int) -> Iterator[WarningShown]:
        """The early warnings of a network's latest forecast."""
        return self._pages("/v1/early-warnings", WarningShown, network_id=network_id)

    # ------------------------------------------------------------------------------------------- plans

    def request_plan(self, given: NewPlanRequest) -> PlanRequestShown:
        """Ask for a plan; its job makes it."""
        return self._post("/v1/plan-requests", PlanRequestShown, given)

    def plan_request(self, request_id: int) -> PlanRequestShown:
        """One plan request."""
        return self._get(f"/v1/plan-requests/{request_id}", PlanRequestShown)

    def list_plans(self, *, network_id: int | None = None) -> Iterator[PlanShown]:
        """The plans that one may see."""
        return self._pages("/v1/plans", PlanShown, network_id=network_id)

    def plan(self, plan_hash: str) -> PlanShown:
        """One plan."""
        return self._get(f"/v1/plans/{plan_hash}", PlanShown)

    def document(self, plan_hash: str, kind: str, name: str) -> bytes:
        """A plan in one of its forms; `PlanShown.documents` lists them."""
        return self._send("GET", f"/v1/plans/{plan_hash}/documents/{kind}/{name}").content

    def compare(self, given: NewComparison) -> ComparisonShown:
        """Have two plans run in SUMO with the same seeds."""
        return self._post("/v1/comparisons", ComparisonShown, given)

    def comparison(self, comparison_id: int) -> ComparisonShown:
        """One comparison."""
        return self._get(f"/v1/comparisons/{comparison_id}", ComparisonShown)

    def decide(self, plan_hash: str, given: NewApproval) -> ApprovalShown:
        """Approve, reject or withdraw a plan."""
        return self._post(f"/v1/plans/{plan_hash}/approvals", ApprovalShown, given)

    # ------------------------------------------------------------------------------------------ street

    def list_controllers(self, network_id: int) -> Iterator[ControllerShown]:
        """A network's units on record."""
        return self._pages(f"/v1/networks/{network_id}/controllers", ControllerShown)

    def add_controller(self, given: NewController) -> ControllerShown:
        """The unit of an intersection, put on record."""
        return self._post("/v1/controllers", ControllerShown, given)

    def change_controller(self, controller_id: int, given: ControllerChange) -> ControllerShown:
        """A unit at another address, or with other credentials."""
        where = f"/v1/controllers/{controller_id}"
        tag = self._send("GET", where).headers["etag"]
        return _read(self._send("PATCH", where, body=given, headers={"If-Match": tag}), ControllerShown)

    def deploy(self, given: NewDeployment) -> DeploymentShown:
        """Bring an approved plan to the street, or see what that would change."""
        return self._post("/v1/deployments", DeploymentShown, given)

    def deployment(self, deployment_id: int) -> DeploymentShown:
        """One deployment with its units."""
        return self._get(f"/v1/deployments/{deployment_id}", DeploymentShown)

    def list_deployments(self, *, network_id: int | None = None) -> Iterator[DeploymentSummary]:
        """The deployments that one may see."""
        return self._pages("/v1/deployments", DeploymentSummary, network_id=network_id)

    def roll_back(self, deployment_id: int, reason: str = "") -> DeploymentShown:
        """Give every unit of a deployment back."""
        return self._post(
            f"/v1/deployments/{deployment_id}/roll-back", DeploymentShown, RollBack(reason=reason)
        )

    def plan_emergency(self, network_id: int, given: NewEmergencyPlan) -> JobShown:
        """The job that plans an ambulance's way through; its result is an `EmergencyPlanShown`."""
        return self._post(f"/v1/networks/{network_id}/emergency-plans", JobShown, given)

    # -------------------------------------------------------------------------------------------- jobs

    def job(self, job_id: int) -> JobShown:
        """One job."""
        return self._get(f"/v1/jobs/{job_id}", JobShown)

    def list_jobs(self, *, state: JobState | None = None) -> Iterator[JobShown]:
        """The jobs that one may see."""
        return self._pages("/v1/jobs", JobShown, state=state.value if state else None)

    def cancel(self, job_id: int) -> JobShown:
        """Ask for the end of a job."""
        return _read(self._send("POST", f"/v1/jobs/{job_id}/cancel"), JobShown)

    def watch(self, job_id: int) -> Iterator[JobShown]:
        """A job whenever it changes, until it has ended."""
        path = f"/v1/jobs/{job_id}/events"
        while True:
            try:
                with self._http.stream("GET", path, timeout=httpx2.Timeout(TIMEOUT_S)) as answer:
                    if answer.status_code != 200:
                        answer.read()
                        raise _refusal(answer)
                    for line in answer.iter_lines():
                        if line.startswith("data:"):
                            job = JobShown.model_validate_json(line[5:])
                            yield job
                            if job.state in ENDED:
                                return
            except httpx2.TransportError:
                # the connection is lost, the job isn't
                time.sleep(1.0)
            if self.job(job_id).state in ENDED:
                yield self.job(job_id)
                return

    def wait(self, job_id: int | None, on_change: Callable[[JobShown], None] | None = None) -> JobShown:
        """The job when it is done.

        Raises
        ------
        JobFailed
            Where it has failed or was cancelled.
        """
        if job_id is None:
            raise ServiceError("there is no job to wait for")
        job = None
        for job in self.watch(job_id):
            if on_change is not None:
                on_change(job)
        assert job is not None
        if job.state != JobState.DONE:
            raise JobFailed(job)
        return job

    # ------------------------------------------------------------------------------------------ events

    def report_event(self, given: NewEventInArea | NewEventAtIntersection) -> EventShown:
        """Report something; whoever answers for the place is sent."""
        return self._post("/v1/events", EventShown, given)

    def list_events(self, **filters: Any) -> Iterator[EventSummary]:
        """Events, by area_id, state, assignee or overdue."""
        return self._pages("/v1/events", EventSummary, **filters)

    def event(self, event_id: int) -> EventShown:
        """One event with its course."""
        return self._get(f"/v1/events/{event_id}", EventShown)

    def respond(self, event_id: int, given: ResponseGiven) -> EventShown:
        """Say what is being done."""
        return self._step(event_id, "responses", given)

    def close_event(self, event_id: int, given: FeedbackGiven) -> EventShown:
        """Report how an event ended."""
        return self._step(event_id, "feedback", given)

    def verify_audit(self) -> AuditVerified:
        """Walk the audit's whole chain."""
        return self._get("/v1/audit/verification", AuditVerified)

    def _step(self, event_id: int, what: str, given: BaseModel) -> EventShown:
        tag = self._send("GET", f"/v1/events/{event_id}").headers["etag"]
        return self._post(f"/v1/events/{event_id}/{what}", EventShown, given, headers={"If-Match": tag})

    # ------------------------------------------------------------------------------------------- inside

    def _get(self, path: str, model: type[Model], **query: Any) -> Model:
        return _read(self._send("GET", path, query=query), model)

    def _pages(self, path: str, model: type[Model], **filters: Any) -> Iterator[Model]:
        query = {name: value for name, value in filters.items() if value is not None}
        pages = TypeAdapter(Page[model])  # type: ignore[valid-type]
        while True:
            page = pages.validate_json(self._send("GET", path, query=query).content)
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def _post(
        self,
        path: str,
        model: type[Model],
        body: BaseModel | None = None,
        *,
        data: bytes | None = None,
        media_type: str = "",
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Model:
        sent = {"Idempotency-Key": uuid.uuid4().hex, **(headers or {})}
        if media_type:
            sent["Content-Type"] = media_type
        return _read(self._send("POST", path, body=body, data=data, query=query, headers=sent), model)

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | None = None,
        data: bytes | None = None,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        """The answer, asked for again where the service is away or busy, as far as that can do no harm."""
        sent = dict(headers or {})
        if body is not None:
            data = body.model_dump_json(exclude_unset=True).encode()
            sent["Content-Type"] = "application/json"
        again = method == "GET" or "Idempotency-Key" in sent
        for tried in range(TRIES):
            last = not again or tried == TRIES - 1
            try:
                answer = self._http.request(method, path, content=data, params=query, headers=sent)
            except httpx2.TransportError as error:
                if last:
                    raise ServiceError(f"{self.url} can't be reached: {error}") from error
                time.sleep(min(0.5 * 2**tried, LONGEST_PAUSE_S))
                continue
            if answer.status_code in (429, 503) and not last:
                time.sleep(min(float(answer.headers.get("retry-after", 1)), LONGEST_PAUSE_S))
                continue
            if answer.is_success:
                return answer
            raise _refusal(answer)
        raise AssertionError


def _read(answer: httpx2.Response, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        raise ServiceError(f"{answer.url}: the answer isn't what this release expects: {error}") from error


def _refusal(answer: httpx2.Response) -> ServiceError:
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        return ServiceError(f"{answer.url}: answered {answer.status_code}", answer.status_code)
    return ServiceError(f"{problem.title}: {problem.detail}", answer.status_code, problem)


def _file(content: Path | bytes, media_type: str) -> tuple[bytes, str]:
    if isinstance(content, bytes):
        return content, media_type
    try:
        return content.read_bytes(), MEDIA_TYPES.get(content.suffix, media_type)
    except OSError as error:
        raise ServiceError(f"{content}: can't be read: {error.strerror}") from None
