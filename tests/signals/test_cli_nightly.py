"""The commands of a night: what they refuse, and what they show and decide of a night that has been run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from signals.cli import EXIT_CODES, app
from signals.cli.nightly import SOME_FAILED, TERMINATED
from signals.errors import Stopped
from signals.nightly.folder import night_folder
from tests.signals.conftest import Ended
from tests.signals.nightly.fakes import DAY, City
from tests.signals.nightly.test_night import ran

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., Ended]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--date", "2026-13-02"], "write it as 2026-03-02"),
        (["--date", "2026-03-02", "--workers", "-1"], "--workers -1"),
        (["--date", "2026-03-02", "--max-plans", "0"], "at least one plan"),
        (["--date", "2026-03-02", "--validate-budget", "nan"], "give minutes"),
        (["--date", "2026-03-02"], "city.toml isn't there"),
    ],
    ids=["date", "workers", "plans", "budget", "city"],
)
def test_a_night_that_makes_no_sense_is_refused(
    greensplit: Command, tmp_path: Path, words: list[str], said: str
) -> None:
    ended = greensplit("nightly", "--data", tmp_path, *words)
    assert ended.code == 2
    assert said in ended.err
    assert not list(tmp_path.iterdir())


def test_the_queue_of_a_night_that_has_not_been_is_not_there(greensplit: Command, tmp_path: Path) -> None:
    ended = greensplit("night", "queue", "--data", tmp_path, "--date", DAY)
    assert ended.code == 2
    assert "run `greensplit nightly` for that day first" in ended.err


def test_plans_are_shown_approved_and_rejected(greensplit: Command, tmp_path: Path) -> None:
    ran(City(tmp_path))
    where = ("--data", tmp_path, "--date", DAY)
    assert greensplit("night", "queue", *where).out.count("waiting") == 4
    ended = greensplit("night", "approve", *where, "--by", "Ada", "--note", "seen", "s02", "--json")
    assert ended.code == 0
    (approved,) = json.loads(ended.out)["groups"].values()
    assert (approved["state"], approved["by"], approved["note"]) == ("approved", "Ada", "seen")
    assert greensplit("night", "reject", *where, "--by", "Ben").out.count("rejected") == 3
    assert greensplit("night", "approve", *where, "--by", "Ada", "s99").code == 2
    found = json.loads(night_folder(tmp_path, DAY).approvals.read_text())["groups"]
    assert [found[g]["state"] for g in sorted(found)] == ["rejected", "approved", "rejected", "rejected"]


def test_exit_codes_of_a_night_are_its_own() -> None:
    assert EXIT_CODES[Stopped] == 6
    assert SOME_FAILED not in EXIT_CODES.values()
    assert TERMINATED == 128 + 15


def test_the_cron_job_of_kubernetes_gives_options_that_exist() -> None:
    job = yaml.safe_load((ROOT / "deploy" / "greensplit-nightly.yaml").read_text())
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name, *words = container["args"]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
