"""Running the service: `greensplit serve`, and what its owner does beside it: keys, store, audit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.cli.app import app
from signals.cli.console import Json, console, print_json
from signals.errors import InputError
from signals.model.states import Role

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from signals.settings import Settings
    from signals.store.audit import Actor
    from signals.store.session import Store
    from signals.store.tables import Area, Person

Data = Annotated[Path | None, typer.Option(help="Folder of the database and of workers' files.")]
Db = Annotated[
    str | None,
    typer.Option(
        help="Database: sqlite:////path/x.db or postgresql+psycopg://…; SQLite in --data by default."
    ),
]
ESCALATE_EVERY_S = 30.0
SETTLE_EVERY_S = 5.0
RESTART_S = 1.0
"""Pause before a part that has died is started again."""


class Part(StrEnum):
    """What a process of the service does."""

    ALL = "all"
    WEB = "web"
    JOBS = "jobs"


@app.command()
def serve(
    data: Data = None,
    db: Db = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler; workers of our own by default.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers, where there is no scheduler.")] = None,
    sample: Annotated[
        str | None, typer.Option(help="A shipped network to be loaded first: single, arterial or grid.")
    ] = None,
    part: Annotated[
        Part, typer.Option(help="all on one machine; web or jobs alone where they run apart.")
    ] = Part.ALL,
) -> None:
    """Run the service: the API, and the workers that plan.

    Everything else is set by environment variables, GREENSPLIT_QUEUE_LIMIT and the like: see docs/operating.md. The
    first key is made by `greensplit keys create`.
    """
    settings = _settings(data=data, db=db, host=host, port=port, scheduler=scheduler, workers=workers)
    from signals.logs import configure_logs

    configure_logs(settings.log_level, json=not sys.stderr.isatty())
    store = _store(settings)
    if store.is_sqlite and part is Part.ALL:
        store.upgrade()
    store.require_current()
    if sample is not None:
        _load_sample(store, sample)
    store.close()
    if part is Part.WEB:
        _serve_web(settings)
    elif part is Part.JOBS:
        _serve_jobs(settings)
    else:
        _supervise(settings)


def _settings(**given: Any) -> Settings:
    from pydantic import ValidationError

    from signals.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"settings: {told}") from None


def _store(settings: Settings) -> Store:
    from signals.store.session import Store

    return Store(settings.database_url)


def _serve_web(settings: Settings) -> None:
    import gc

    import uvicorn

    # by its name: the command is downstairs of the web's door
    config = uvicorn.Config(
        "api.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    config.load()
    # what is loaded now stays: to look through it again and again would stop every request for a tenth of a second
    gc.collect()
    gc.freeze()
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        raise typer.Exit(1)


def _serve_jobs(settings: Settings) -> None:
    from functools import partial

    from signals.jobs.dispatch import run_dispatcher
    from signals.jobs.heartbeat import Heart
    from signals.logs import configure_logs

    heart = Heart(_store(settings), settings.snmp_credentials)
    heart.start()
    run_dispatcher(
        _store(settings),
        scheduler=settings.scheduler,
        workers=settings.workers,
        folder=settings.data / "work",
        lease_s=settings.lease_s,
        most_attempts=settings.most_attempts,
        simulations=settings.jobs_at_once,
        credentials=settings.snmp_credentials,
        every=[(ESCALATE_EVERY_S, _escalate), (SETTLE_EVERY_S, partial(_settle, settings.queue_limit))],
        on_worker=partial(configure_logs, settings.log_level, json=not sys.stderr.isatty()),
    )
    heart.stop()


def _escalate(store: Store) -> None:
    from datetime import UTC, datetime

    from signals.events import escalate_overdue

    with store.writing() as session:
        escalate_overdue(session, datetime.now(UTC))


def _settle(queue_limit: int, store: Store) -> None:
    from datetime import UTC, datetime

    from signals.orders.street import settle_deployments

    with store.writing() as session:
        settle_deployments(session, datetime.now(UTC), queue_limit)


def _supervise(settings: Settings) -> None:
    """Both parts as processes of their own; one that dies is started again."""
    from signals.formats.sumo.binaries import ending_with_us

    given = {
        "GREENSPLIT_DATA": str(settings.data),
        "GREENSPLIT_DB": settings.database_url,
        "GREENSPLIT_HOST": settings.host,
        "GREENSPLIT_PORT": str(settings.port),
        "GREENSPLIT_WORKERS": str(settings.workers),
        **({"GREENSPLIT_SCHEDULER": settings.scheduler} if settings.scheduler else {}),
        **({"GREENSPLIT_SNMP_CREDENTIALS": str(c)} if (c := settings.snmp_credentials) else {}),
    }
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: ending.append(received))
    parts: dict[Part, subprocess.Popen[bytes]] = {}
    try:
        while not ending:
            for part in (Part.WEB, Part.JOBS):
                running = parts.get(part)
                if running is not None and running.poll() is None:
                    continue
                if running is not None:
                    typer.echo(f"{part} ended with {running.returncode}; starting it again", err=True)
                    time.sleep(RESTART_S)
                command = [sys.executable, "-m", "signals.cli", "serve", "--part", part.value]
                parts[part] = subprocess.Popen(
                    ending_with_us(command, by="TERM"), env={**os.environ, **given}
                )
            time.sleep(0.2)
    finally:
        for process in parts.values():
            process.terminate()
        for process in parts.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _load_sample(store: Store, name: str) -> None:
    """A shipped network in the area of the whole city, unless it is there already."""
    import hashlib
    from datetime import UTC, datetime

    from sqlalchemy import select

    from signals.access import Caller
    from signals.formats.sumo.bundle import bundle_of
    from signals.formats.sumo.config import read_scenario
    from signals.orders.desk import Desk
    from signals.orders.networks import upload_network
    from signals.store.areas import CITY
    from signals.store.audit import Actor
    from signals.store.people import add_person, find_person
    from signals.store.tables import Area, RoadNetwork
    from sumo_nets import find_network

    try:
        content = bundle_of(read_scenario(find_network(name)))
    except ValueError as error:
        raise InputError(str(error)) from None
    with store.writing() as session:
        there = select(RoadNetwork.id).where(RoadNetwork.area_id == CITY, RoadNetwork.name == name)
        if session.scalar(there) is not None:
            return
        actor = Actor(None, "serve --sample")
        person = find_person(session, "samples") or add_person(session, actor, "samples")
        city = session.get_one(Area, CITY)
        caller = Caller(person.id, person.name, 0, ((Role.ENGINEER, city.path),), actor.request_id)
        desk = Desk(caller, queue_limit=2**31, now=datetime.now(UTC))
        upload_network(session, desk, CITY, name, "UTC", content, hashlib.sha256(content).hexdigest())


# --------------------------------------------------------------------------------------------- beside it

keys = typer.Typer(
    name="keys", help="People, their roles and their keys, on the service's database.", no_args_is_help=True
)
app.add_typer(keys)
Roles = Annotated[
    list[Role] | None, typer.Option("--role", help="A role in the area; may be given several times.")
]
InArea = Annotated[int, typer.Option("--area", min=1, help="Number of the area; 1 is the whole city.")]


@keys.command()
def create(
    person: Annotated[str, typer.Argument(help="Name; somebody new is added.")],
    role: Roles = None,
    area: InArea = 1,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the key works.")] = 365,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    data: Data = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Make a key, and give roles. The key is shown now and never again."""
    from signals.store.people import add_person, create_key, find_person

    with _opened(data, db) as session:
        found = find_person(session, person) or add_person(session, _owner(), person)
        _grant(session, found, role or [], area)
        row, key = create_key(session, _owner(), found, days=days, label=label)
        name, until = found.name, row.expires_at.isoformat(timespec="seconds")
    if as_json:
        print_json({"person": name, "key": key, "expires_at": until})
        return
    console().print(f"key of {name}, until {until[:10]}; keep it, it isn't shown again:")
    typer.echo(key)


@keys.command()
def revoke(
    prefix: Annotated[
        str, typer.Argument(help="The key's first letters, as `greensplit keys list` shows them.")
    ],
    data: Data = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """End a key at once."""
    from signals.store.people import revoke_key

    with _opened(data, db) as session:
        shown = revoke_key(session, _owner(), prefix).prefix
    _tell(as_json, f"{shown}… works no more", revoked=shown)


@keys.command(name="list")
def list_all(data: Data = None, db: Db = None, as_json: Json = False) -> None:
    """Show all keys: whose, since when, until when; never the keys themselves."""
    from signals.store.people import list_keys
    from signals.tables.service import key_tables

    with _opened(data, db) as session:
        rows = [
            {
                "prefix": key.prefix,
                "person": key.person.name,
                "label": key.label,
                "created_at": key.created_at.isoformat(timespec="seconds"),
                "expires_at": key.expires_at.isoformat(timespec="seconds"),
                "revoked_at": key.revoked_at.isoformat(timespec="seconds") if key.revoked_at else None,
            }
            for key in list_keys(session)
        ]
    if as_json:
        print_json({"keys": rows})
        return
    for table in key_tables(rows):
        console().print(table)


@keys.command()
def people(data: Data = None, db: Db = None, as_json: Json = False) -> None:
    """Show everybody, with their roles."""
    from signals.store.people import list_people
    from signals.tables.service import people_tables

    with _opened(data, db) as session:
        rows = [
            {
                "person": person.name,
                "roles": [
                    {"role": grant.role, "area": grant.area_id, "area_name": grant.area.name}
                    for grant in person.grants
                ],
            }
            for person in list_people(session)
        ]
    if as_json:
        print_json({"people": rows})
        return
    for table in people_tables(rows):
        console().print(table)


@keys.command()
def grant(
    person: Annotated[str, typer.Argument(help="Name.")],
    role: Annotated[list[Role], typer.Option("--role", help="A role; may be given several times.")],
    area: InArea = 1,
    data: Data = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Give roles in an area and all areas below it."""
    from signals.store.people import get_person

    with _opened(data, db) as session:
        _grant(session, get_person(session, person), role, area)
    _tell(as_json, f"{person} is {', '.join(role)} in area {area}", person=person, roles=role, area=area)


@keys.command()
def withdraw(
    person: Annotated[str, typer.Argument(help="Name.")],
    role: Annotated[list[Role], typer.Option("--role", help="A role; may be given several times.")],
    area: InArea = 1,
    data: Data = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Take roles back."""
    from signals.store.people import get_person, withdraw_role

    with _opened(data, db) as session:
        found, where = get_person(session, person), _area(session, area)
        for one in role:
            withdraw_role(session, _owner(), found, one, where)
    said = f"{person} is no longer {', '.join(role)} in area {area}"
    _tell(as_json, said, person=person, withdrawn=role, area=area)


store_commands = typer.Typer(name="store", help="The service's database.", no_args_is_help=True)
app.add_typer(store_commands)


@store_commands.command()
def upgrade(data: Data = None, db: Db = None, as_json: Json = False) -> None:
    """Bring the tables to what this release needs; make a backup first."""
    from contextlib import closing

    with closing(_store(_settings(data=data, db=db))) as store:
        before = store.revision()
        store.upgrade()
        after = store.revision()
    said = f"the database was at revision {before or 'none'}, and is at {after} now"
    _tell(as_json, said, before=before, after=after)


@store_commands.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Revision to go back to, such as 0001.")],
    data: Data = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Take migrations back, with the data that they brought; make a backup first."""
    from contextlib import closing

    with closing(_store(_settings(data=data, db=db))) as store:
        store.downgrade(revision)
        after = store.revision()
    _tell(as_json, f"the database is at {after or 'nothing'} now", after=after)


audit = typer.Typer(name="audit", help="The record of everything that was done.", no_args_is_help=True)
app.add_typer(audit)


@audit.command()
def verify(data: Data = None, db: Db = None, as_json: Json = False) -> None:
    """Walk the whole chain: an entry that was removed or altered is found and named (exit code 1)."""
    from signals.store.audit import AuditBroken
    from signals.store.audit import verify as walk

    try:
        with _opened(data, db) as session:
            entries, head = walk(session)
    except AuditBroken as broken:
        if as_json:
            print_json({"whole": False, "problem": str(broken)})
        else:
            console().print(f"the audit is broken: {broken}")
        raise typer.Exit(1) from None
    if as_json:
        print_json({"whole": True, "entries": entries, "head": head})
        return
    console().print(f"the audit is whole: {entries} entries, head {head}")


@contextmanager
def _opened(data: Path | None, db: str | None) -> Iterator[Session]:
    """A transaction on a database that is there and current; made where it is SQLite and absent."""
    from contextlib import closing

    with closing(_store(_settings(data=data, db=db))) as store:
        if store.is_sqlite and not Path(store.url.database or "").exists():
            store.upgrade()
        store.require_current()
        with store.writing() as session:
            yield session


def _tell(as_json: bool, said: str, **facts: Any) -> None:
    if as_json:
        print_json(facts)
    else:
        console().print(said)


def _owner() -> Actor:
    """Whoever has the machine."""
    from signals.store.audit import Actor

    return Actor(None, "command line")


def _area(session: Session, number: int) -> Area:
    from signals.store.tables import Area

    found = session.get(Area, number)
    if found is None:
        raise InputError(f"there is no area {number}; GET /v1/areas lists them")
    return found


def _grant(session: Session, person: Person, roles: list[Role], area: int) -> None:
    from signals.store.people import grant_role

    where = _area(session, area)
    for role in roles:
        grant_role(session, _owner(), person, role, where)
