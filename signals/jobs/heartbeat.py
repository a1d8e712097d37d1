"""Keeps units at the patterns of deployments in force: repeats each command, looks at the unit, returns it at doubt.

When this stops, the units notice: after its backup time each goes back to its own plan. Two of them at the same time
do no harm.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from signals.controllers.credentials import Credentials, credentials_of, read_credentials
from signals.controllers.snmp import V3Engines
from signals.controllers.units import open_unit
from signals.deployment.push import BEATS_A_BACKUP_TIME, give_back, health
from signals.deployment.rollout import AT_ONCE
from signals.errors import (
    ControllerError,
    ControllerUnreachable,
    GreensplitError,
    InputError,
    StoreUnavailable,
)
from signals.model.controller import UnitClock
from signals.model.states import StepState
from signals.store.audit import Actor, record
from signals.store.session import Store
from signals.store.street import HELD, units_to_keep
from signals.store.tables import DeploymentStep

LOG = logging.getLogger("greensplit.street")
LOOK_S = 1.0
"""From one look at what is to be kept to the next."""
SIMULATED_BEAT_S = 1.0
"""Between two commands to a unit on a simulation's clock, which may run many times as fast as ours."""
HEART = Actor(None, "heartbeat")


@dataclass(frozen=True)
class _Unit:
    """What is to be kept."""

    step_id: int
    intersection_id: int
    deployment_id: int
    area_id: int
    signal: str
    host: str
    port: int
    credentials: str
    pattern: int
    previous: int
    beat_s: float


class Heart:
    """A thread that keeps the units until it is stopped."""

    def __init__(self, store: Store, credentials: Path | None) -> None:
        self._store, self._credentials = store, credentials
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._beaten: dict[int, float] = {}
        self._silent: set[int] = set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the units aren't given back, and keep their pattern for their backup time."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.beat()
            except StoreUnavailable as error:
                LOG.warning("the units to keep aren't known now: %s", error)
            except InputError as error:
                LOG.error("%s", error)
            except Exception:
                LOG.exception("a heartbeat failed")

    def beat(self) -> None:
        """Command and look at every unit that is due."""
        units = [u for u in self._units() if time.monotonic() - self._beaten.get(u.step_id, -1e9) >= u.beat_s]
        if units:
            asyncio.run(self._beat(units, read_credentials(self._credentials)))

    def _units(self) -> list[_Unit]:
        with self._store.reading() as session:
            return [
                _Unit(
                    held.step.id,
                    held.step.intersection_id,
                    held.step.deployment_id,
                    held.step.intersection.area_id,
                    held.step.intersection.signal,
                    held.controller.host,
                    held.controller.port,
                    held.controller.credentials,
                    held.pattern,
                    held.step.previous,
                    SIMULATED_BEAT_S
                    if held.controller.clock == UnitClock.SIMULATED
                    else held.step.facts["backup_time_s"] / BEATS_A_BACKUP_TIME,
                )
                for held in units_to_keep(session)
            ]

    async def _beat(self, units: list[_Unit], known: Mapping[str, Credentials]) -> None:
        gate, engines = asyncio.Semaphore(AT_ONCE), V3Engines()

        async def one(unit: _Unit) -> None:
            async with gate:
                await self._keep(unit, credentials_of(known, unit.credentials), engines)

        try:
            results = await asyncio.gather(*(one(unit) for unit in units), return_exceptions=True)
        finally:
            engines.close()
        for unit, result in zip(units, results, strict=True):
            if isinstance(result, GreensplitError):
                LOG.error("%s: %s", unit.signal, result)
            elif isinstance(result, BaseException):
                raise result

    async def _keep(self, unit: _Unit, credentials: Credentials, engines: V3Engines) -> None:
        try:
            async with open_unit(unit.host, unit.port, credentials, engines) as controller:
                doubt = health(await controller.read_status(), unit.pattern)
                if not self._is_kept(unit):
                    return
                if not doubt:
                    await controller.activate(unit.pattern)
                    self._answered(unit)
                    return
                LOG.warning("%s is given back: %s", unit.signal, doubt)
                with suppress(ControllerError):
                    # what isn't ours any more stays as it is; what is gone falls back by itself
                    await give_back(controller, unit.previous, unit.pattern)
        except ControllerUnreachable as error:
            if unit.step_id not in self._silent:
                LOG.warning("%s gives no answer: %s", unit.signal, error)
                self._silent.add(unit.step_id)
            return
        self._note_returned(unit, doubt)

    def _is_kept(self, unit: _Unit) -> bool:
        """Whether it is ours to command still: a rollout may have begun, or a way back, since we looked."""
        with self._store.reading() as session:
            kept = units_to_keep(session, unit.intersection_id)
        return any(held.step.id == unit.step_id for held in kept)

    def _answered(self, unit: _Unit) -> None:
        self._beaten[unit.step_id] = time.monotonic()
        self._silent.discard(unit.step_id)

    def _note_returned(self, unit: _Unit, doubt: str) -> None:
        with self._store.writing() as session:
            row = session.scalar(
                select(DeploymentStep).where(DeploymentStep.id == unit.step_id).with_for_update()
            )
            if row is None or row.state not in HELD:
                return
            row.state, row.problem, row.changed_at = StepState.RETURNED, doubt, datetime.now(UTC)
            record(
                session,
                HEART,
                "deployment.unit-returned",
                f"deployments/{unit.deployment_id}",
                area_id=unit.area_id,
                signal=unit.signal,
                before=unit.pattern,
                problem=doubt,
            )
