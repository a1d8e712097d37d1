"""Early warnings over HTTP: of the latest forecasts, by network, intersection and time, as far as one may see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from signals.early_warning import EarlyWarning
from signals.store.tables import Forecast, IntersectionRow, Job, RoadNetwork, Upload, WarningRow
from tests.api.conftest import City

SIX = datetime(2026, 11, 26, 6, tzinfo=UTC)
FACTS = EarlyWarning(
    approach="A0:top",
    movement="A0:top:left",
    start=np.datetime64("2026-11-26T07:00"),
    end=np.datetime64("2026-11-26T08:00"),
    slots=4,
    peak=np.datetime64("2026-11-26T07:15"),
    peak_probability=0.8,
    peak_movement="A0:top:left",
    excess_veh=21.5,
    vc_mean=1.1,
    vc_q90=1.25,
).to_json()


class Warned:
    """A city with a network in the north, one signal of which lies in the harbour, and one in the south."""

    def __init__(self, city: City) -> None:
        self.city = city
        with city.store.writing() as session:
            session.add(Upload(sha256="0" * 64, content=b"", created_at=SIX))
            session.flush()
            self.north, self.south = (
                self._network(session, area, name)
                for area, name in ((city.north, "north"), (city.south, "south"))
            )
            self.at_north = self._signal(session, self.north, city.north, "N")
            self.at_harbour = self._signal(session, self.north, city.harbour, "H")
            self.at_south = self._signal(session, self.south, city.south, "S")

    def _network(self, session: Any, area_id: int, name: str) -> int:
        network = RoadNetwork(
            area_id=area_id,
            name=name,
            state="ready",
            upload_sha256="0" * 64,
            facts={},
            created_by=1,
            created_at=SIX,
        )
        session.add(network)
        session.flush()
        return network.id

    def _signal(self, session: Any, network_id: int, area_id: int, signal: str) -> int:
        row = IntersectionRow(
            network_id=network_id, area_id=area_id, signal=signal, x_m=0.0, y_m=0.0, facts={}
        )
        session.add(row)
        session.flush()
        return row.id

    def forecast(self, network_id: int) -> int:
        """A new forecast of a network."""
        with self.city.store.writing() as session:
            job = Job(
                kind="forecast",
                area_id=1,
                subject=f"networks/{network_id}",
                arguments={},
                state="done",
                created_by=1,
                created_at=SIX,
            )
            session.add(job)
            session.flush()
            made = Forecast(
                network_id=network_id,
                job_id=job.id,
                made_at=SIX,
                origin_at=SIX,
                step_min=15,
                horizon=96,
                levels=[0.5, 0.9],
                inputs_sha256="0" * 64,
                left_out=0,
            )
            session.add(made)
            session.flush()
            return made.id

    def warn(self, forecast_id: int, intersection_id: int, begins_h: float = 0, hours: float = 1) -> int:
        """A warning of a forecast, some hours after six."""
        with self.city.store.writing() as session:
            row = WarningRow(
                forecast_id=forecast_id,
                area_id=session.get_one(IntersectionRow, intersection_id).area_id,
                intersection_id=intersection_id,
                begins_at=SIX + timedelta(hours=begins_h),
                ends_at=SIX + timedelta(hours=begins_h + hours),
                facts=FACTS,
            )
            session.add(row)
            session.flush()
            return row.id

    def listed(self, who: str, **filters: Any) -> list[int]:
        """The numbers of the warnings that somebody gets."""
        answer = self.city.as_(who).get("/v1/early-warnings", params=filters)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["items"]]


@pytest.fixture
def warned(city: City) -> Warned:
    return Warned(city)


def test_a_warning_says_when_where_and_how_likely(warned: Warned) -> None:
    forecast = warned.forecast(warned.north)
    number = warned.warn(forecast, warned.at_north)
    shown = warned.city.as_("viewer").get(f"/v1/early-warnings/{number}")
    assert shown.status_code == 200, shown.text
    assert shown.json() == {
        "id": number,
        "network_id": warned.north,
        "forecast_id": forecast,
        "area_id": warned.city.north,
        "intersection_id": warned.at_north,
        "signal": "N",
        "begins_at": "2026-11-26T06:00:00Z",
        "ends_at": "2026-11-26T07:00:00Z",
        "facts": FACTS,
    }
    assert warned.city.as_("viewer").get("/v1/early-warnings").json()["items"] == [shown.json()]


def test_only_the_latest_forecast_of_each_network_counts_unless_one_is_named(warned: Warned) -> None:
    old = warned.forecast(warned.north)
    outdated = warned.warn(old, warned.at_north)
    latest = warned.warn(warned.forecast(warned.north), warned.at_north)
    south = warned.warn(warned.forecast(warned.south), warned.at_south)
    assert warned.listed("everyone") == [latest, south]
    assert warned.listed("everyone", forecast_id=old) == [outdated]
    assert warned.city.as_("viewer").get(f"/v1/early-warnings/{outdated}").status_code == 200
    warned.forecast(warned.north)
    assert warned.listed("everyone") == [south]


def test_warnings_are_found_by_network_intersection_and_time(warned: Warned) -> None:
    forecast = warned.forecast(warned.north)
    first = warned.warn(forecast, warned.at_north, begins_h=0)
    second = warned.warn(forecast, warned.at_harbour, begins_h=2)
    south = warned.warn(warned.forecast(warned.south), warned.at_south)
    assert warned.listed("everyone", network_id=warned.south) == [south]
    assert warned.listed("everyone", intersection_id=warned.at_harbour) == [second]
    assert warned.listed("everyone", network_id=warned.south, intersection_id=warned.at_harbour) == []
    assert warned.listed("viewer", **{"from": "2026-11-26T07:00:00Z"}) == [second]
    assert warned.listed("viewer", **{"from": "2026-11-26T07:59:00+01:00"}) == [first, second]
    assert warned.listed("viewer", to="2026-11-26T08:00:00Z") == [first]
    assert warned.listed("viewer", to="2026-11-26T08:00:01Z") == [first, second]
    assert warned.listed("viewer", **{"from": "2026-11-26T07:30:00Z", "to": "2026-11-26T08:00:00Z"}) == []
    assert warned.listed("viewer", **{"from": "0001-01-01T00:00:00+23:00"}) == [first, second]
    assert warned.listed("viewer", to="9999-12-31T23:59:59-23:00") == [first, second]
    assert warned.listed("everyone", limit=2) == [first, second]


def test_warnings_are_seen_where_their_intersection_is(warned: Warned) -> None:
    forecast = warned.forecast(warned.north)
    north, harbour = warned.warn(forecast, warned.at_north), warned.warn(forecast, warned.at_harbour)
    south = warned.warn(warned.forecast(warned.south), warned.at_south)
    assert warned.listed("viewer") == [north, harbour]
    assert warned.listed("stranger") == [south]
    assert warned.listed("nobody") == []
    assert warned.listed("stranger", forecast_id=forecast) == []
    for who, number in (("viewer", south), ("stranger", harbour), ("nobody", north), ("everyone", 999)):
        answer = warned.city.as_(who).get(f"/v1/early-warnings/{number}")
        assert (answer.status_code, answer.json()["detail"]) == (404, f"there is no early warning {number}")


@pytest.mark.parametrize(
    "wrong",
    [{"network_id": 0}, {"forecast_id": 2**60}, {"from": "2026-11-26T07:00:00"}, {"to": "x"}, {"when": "x"}],
)
def test_a_question_that_cannot_be_asked_is_refused(city: City, wrong: dict[str, Any]) -> None:
    assert city.as_("viewer").get("/v1/early-warnings", params=wrong).status_code == 422
