"""A night of the service's networks: each is planned, and its plans go to the approval queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from signals.cli.console import progress_bars
from signals.errors import GreensplitError, InputError, Stopped, StoreUnavailable

if TYPE_CHECKING:
    from signals.demand.calendar import Calendar
    from signals.nightly.options import NightOptions
    from signals.nightly.pool import Pool
    from signals.nightly.store_city import KnownNetwork
    from signals.settings import Settings
    from signals.store.session import Store


def plan_networks(
    data: Path | None,
    day_on: Callable[[str], date],
    network: str | None,
    country: str,
    options: NightOptions,
    pool_in: Callable[[Path], AbstractContextManager[Pool]],
    quiet: bool,
) -> dict[str, Any]:
    """Nights of the networks in the service's store, or of the one named; those that fail stop no other.

    Parameters
    ----------
    day_on
        The day to plan for by the clock of a timezone, which may be empty.

    Returns
    -------
    `networks` has the facts of each night, `left_out` the reason of each network that none can be made of, and
    `failed` that of each whose night failed.
    """
    from signals.nightly.store_city import known_networks

    calendar = _calendar(country)
    done, left_out, failed = list[dict[str, Any]](), dict[str, str](), dict[str, str]()
    with _opened(data) as (settings, store):
        for known in known_networks(store, network):
            if known.why_not:
                (left_out if network is None else failed)[f"{known.id} {known.name}"] = known.why_not
                continue
            try:
                done.append(
                    _night(
                        settings.data, store, known, day_on(known.timezone), calendar, options, pool_in, quiet
                    )
                )
            except (Stopped, StoreUnavailable):
                raise
            except GreensplitError as error:
                failed[f"{known.id} {known.name}"] = str(error)
    return {
        "networks": done,
        "left_out": [f"{name}: {why}" for name, why in left_out.items()],
        "failed": [f"{name}: {why}" for name, why in failed.items()],
    }


def _night(
    data: Path,
    store: Store,
    known: KnownNetwork,
    day: date,
    calendar: Calendar,
    options: NightOptions,
    pool_in: Callable[[Path], AbstractContextManager[Pool]],
    quiet: bool,
) -> dict[str, Any]:
    from signals.nightly.night import run_night
    from signals.nightly.steps import real_steps
    from signals.nightly.store_city import opened
    from signals.nightly.store_queue import ApprovedInStore, hand_on

    def tell(text: str) -> None:
        typer.echo(f"greensplit: network {known.id} {known.name}: {text}", err=True)

    folder = known.folder(data)
    with (
        opened(store, known, day, data, calendar, tell) as city,
        progress_bars(quiet) as progress,
    ):
        facts = run_night(
            city,
            folder,
            day,
            options,
            real_steps(),
            pool_in,
            on_progress=progress,
            tell=tell,
            in_force=ApprovedInStore(store, known.id),
        )
    queue = hand_on(store, known.id, folder, day)
    return {"network": known.id, **facts, "queue": asdict(queue)}


def _calendar(country: str) -> Calendar:
    from signals.demand.calendar import Calendar

    code, _, part = country.partition("-")
    return Calendar(code, part)


@contextmanager
def _opened(data: Path | None) -> Iterator[tuple[Settings, Store]]:
    """The service's settings and its store, which must be there."""
    from contextlib import closing

    from signals.formats.city import FILE
    from signals.settings import Settings
    from signals.store.session import Store

    settings = Settings(data=data) if data is not None else Settings()
    with closing(Store(settings.database_url)) as store:
        if store.is_sqlite and not Path(store.url.database or "").exists():
            raise InputError(
                f"{(data or Path()) / FILE} isn't there, so this is no city's folder; nor is "
                f"{store.url.database}, so it isn't the service's data; give one of them as --data"
            )
        store.require_current()
        yield settings, store
