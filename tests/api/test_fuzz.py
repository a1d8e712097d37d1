"""Whatever the document allows is taken, whatever it forbids is refused, and nothing is ever a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from signals.store.audit import verify
from tests.api.fuzzing import CHECKS, EXCLUDED, PHASES, Tally, fuzz_city, throw_at
from tests.api.test_roles import OPEN, OPERATIONS
from tests.conftest import BACKENDS, Databases

QUICK = tuple(phase for phase in PHASES if phase != "coverage")
"""Coverage takes every border of every schema, some 3,200 cases: `make test-slow` and `python -m benchmarks.fuzz`."""


def fuzzed(databases: Databases, backend: str, folder: Path, examples: int, **more: object) -> Tally:
    """What comes of requests to a furnished city on this database, with the key of somebody who may do all."""
    with fuzz_city(databases.fresh(backend), folder) as (city, found):
        tally = throw_at(city, found, key=city.keys["everyone"], examples=examples, seed=1, **more)  # type: ignore[arg-type]
        with city.store.reading() as session:
            verify(session)
    return tally


def require_sound(tally: Tally) -> None:
    """Nothing was wrong, and nothing was left out."""
    assert not tally.wrong, f"{len(tally.wrong)} wrong:\n\n" + "\n\n".join(tally.wrong[:5])
    assert {label for label, _ in tally.cases} == {f"{method} {path}" for method, path in OPERATIONS.values()}
    assert set(tally.checks) == set(CHECKS)


def test_some_hundred_requests_are_answered_as_they_should_be(databases: Databases, tmp_path: Path) -> None:
    tally = fuzzed(databases, "sqlite", tmp_path, 4, phases=QUICK)
    require_sound(tally)
    assert tally.cases.total() > 300
    assert all(tally.of_phase(phase) for phase in QUICK)
    assert sum(n for (_, status), n in tally.answers.items() if 200 <= status < 300) > 100


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_thousands_of_requests_are_answered_as_they_should_be(
    databases: Databases, backend: str, tmp_path: Path
) -> None:
    tally = fuzzed(databases, backend, tmp_path, 30)
    require_sound(tally)
    assert tally.cases.total() > 4000
    good = {label for (label, status), _ in tally.answers.items() if 200 <= status < 300}
    assert len(good) > 50


def test_without_a_key_all_requests_are_refused(databases: Databases, tmp_path: Path) -> None:
    with fuzz_city(databases.fresh("sqlite"), tmp_path) as (city, found):
        tally = throw_at(city, found, key=None, examples=2, seed=1, phases=("examples", "fuzzing"))
    require_sound(tally)
    refused = {status for (label, status), _ in tally.answers.items() if "/v1/" in label}
    assert refused == {401}


def test_what_is_excluded_is_an_operation_and_a_check_and_has_a_reason() -> None:
    for operation, checks in EXCLUDED.items():
        assert operation in set(OPERATIONS) - OPEN
        for check, reason in checks.items():
            assert check in CHECKS
            assert reason
