"""Documents that say what is true of the code: commands, settings, problems, metrics, files to run it with."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from typer.main import get_command

from api.problems import STATUS
from signals.cli import app
from signals.cli.forecast import DEFAULT
from signals.client import Client
from signals.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DEPLOY = ROOT / "deploy"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "sumo_nets").rglob("*.md")])


def named(path: Path) -> str:
    """A test's name."""
    return path.relative_to(ROOT).as_posix()


def code_of(page: Path) -> str:
    """What a page shows to be typed into a shell, with lines that go on put together."""
    text = page.read_text()
    fenced = re.findall(r"^```sh(?: exit=\d+)?\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}(\S.*)$", plain, flags=re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", plain)
    return re.sub(r"\\\n\s*", "", "\n".join((*fenced, *indented, *inline)))


def table(page: Path, name: str) -> list[list[str]]:
    """The cells of the table between a page's marks, without its head."""
    found = re.search(f"<!-- {name}: begin -->\n(.*?)<!-- {name}: end -->", page.read_text(), re.DOTALL)
    assert found, f"{page} has no table of {name}"
    rows = [line.strip("|").split("|") for line in found.group(1).splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


# ----------------------------------------------------------------------------------------------- commands


def require_command(words: list[str]) -> None:
    """Every command and option among the words exists; what follows them isn't looked at."""
    command: Any = get_command(app)
    told = "greensplit"
    while True:
        options = {name: option for option in command.params for name in option.opts + option.secondary_opts}
        options["--help"] = None
        rest: list[str] = []
        while words:
            word = words.pop(0)
            if not word.startswith("-") or word == "-":
                rest.append(word)
                if hasattr(command, "commands"):
                    break
                continue
            name, _, value = word.partition("=")
            assert name in options, f"{told} has no option {name}"
            option = options[name]
            if option is not None and not option.is_flag and not value and words:
                words.pop(0)
        if not hasattr(command, "commands") or not rest:
            return
        if told == "greensplit forecast" and rest[0] not in command.commands:
            rest.insert(0, DEFAULT)  # a file comes first
        assert rest[0] in command.commands, f"{told} has no command {rest[0]}"
        command, told = command.commands[rest[0]], f"{told} {rest[0]}"


def commands_of(code: str) -> Iterator[list[str]]:
    """What follows each greensplit in lines of shell, up to a pipe, a redirection or the like."""
    for line in code.splitlines():
        if "greensplit" not in line:
            continue
        split = shlex.shlex(line, posix=True, punctuation_chars=True)
        split.whitespace_split = True
        words = list(split)
        for at, word in enumerate(words):
            # not the name of a user, a group, a database or a folder
            named_so = re.fullmatch(r"(\S*/)?greensplit(-admin)?", word)
            if not named_so or (at and words[at - 1].startswith("-")):
                continue
            after = [re.fullmatch(r"[|&;<>()]+", w) is not None for w in words[at + 1 :]]
            end = at + 1 + (after.index(True) if True in after else len(after))
            if re.match("--|[a-z]", "".join(words[at + 1 : end])):
                yield words[at + 1 : end]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_in_a_page_exists(page: Path) -> None:
    for words in commands_of(code_of(page)):
        require_command(words)


def test_commands_are_found_in_shell() -> None:
    code = 'A=$(greensplit keys list | tail)\nx -u greensplit; K=$B deploy/greensplit-admin serve "a;b" --x 2>y &'
    assert list(commands_of(code)) == [["keys", "list"], ["serve", "a;b", "--x", "2"]]


@pytest.mark.parametrize(
    "words", ["sreve", "keys make Ada", "serve --prot 1", "plan approve 12ab --against"], ids=str
)
def test_a_command_that_does_not_exist_is_found(words: str) -> None:
    with pytest.raises(AssertionError, match=r"greensplit.* has no"):
        require_command(words.split())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_in_a_page_names_what_exists(page: Path) -> None:
    for code in re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        for node in ast.walk(compile(code, named(page), "exec", ast.PyCF_ONLY_AST)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "service"
            ):
                assert hasattr(Client, node.attr), f"the client has no {node.attr}"


# ------------------------------------------------------------------------------------------------- tables


def test_the_settings_in_operating_are_those_of_the_code() -> None:
    said = table(DOCS / "operating.md", "settings")
    assert [row[0] for row in said] == [f"`GREENSPLIT_{name.upper()}`" for name in Settings.model_fields]
    for (_, default, text), field in zip(said, Settings.model_fields.values(), strict=True):
        value = field.default
        if isinstance(value, bool | int | float):
            assert json.loads(default.strip("`")) == value
        else:
            assert default.strip("`") == ("" if value is None else str(value))
        assert field.description is None or text == field.description


def test_the_problems_on_the_page_of_the_api_are_those_of_the_code() -> None:
    said = table(DOCS / "api.md", "problems")
    known = sorted((str(status), f"`{name}`", title) for status, name, title in STATUS.values())
    assert sorted(map(tuple, said)) == known
    assert [row[0] for row in said] == sorted(row[0] for row in said)


def test_the_metrics_in_operating_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from api import metrics
    from signals.store.figures import JOB_BUCKETS_S, Durations, Figures

    registry = CollectorRegistry()
    monkeypatch.setattr(metrics, "CollectorRegistry", lambda: registry)
    monkeypatch.setattr(registry, "register", lambda _collector: None)
    took = {"plan": Durations((0,) * (len(JOB_BUCKETS_S) + 1), 0.0)}
    figures = Figures({("plan", "done"): 1}, took, {"approved": 1}, {1: 9.0}, 1, 1, 1)
    known = {f"{f.name}_total" if f.type == "counter" else f.name for f in metrics._families(figures)} | {
        "greensplit_store_up",
        "greensplit_requests_total",
        "greensplit_request_seconds",
    }
    page = (DOCS / "operating.md").read_text()
    assert set(re.findall(r"^\| `(greensplit_\w+)` \|", page, flags=re.MULTILINE)) == known
    rules = "".join(re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL))
    used = {re.sub("_bucket$", "", name) for name in re.findall(r"\bgreensplit_\w+", rules)}
    assert used <= known
    assert {len(group["rules"]) > 0 for group in yaml.safe_load(rules)["groups"]} == {True}


# -------------------------------------------------------------------------------------------------- links


def anchors(page: Path) -> set[str]:
    """What a link to a page's headings may name, as web sites make it of them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    }


def test_every_link_to_a_heading_leads_somewhere() -> None:
    dead = [
        f"{named(page)}: {target}#{anchor}"
        for page in PAGES
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text())
        if "://" not in target and anchor not in anchors(page.parent / target if target else page)
    ]
    assert not dead


# ------------------------------------------------------------------------------------------------- deploy


def units() -> list[Path]:
    """The units of systemd."""
    return sorted(DEPLOY.glob("*.service"))


@pytest.mark.parametrize("unit", units(), ids=named)
def test_a_unit_starts_a_command_that_exists(unit: Path) -> None:
    (started,) = re.findall(r"^ExecStart=/opt/greensplit/.venv/bin/greensplit (.+)$", unit.read_text(), re.M)
    require_command(shlex.split(started))
    for name in re.findall(r"GREENSPLIT_(\w+)", unit.read_text()):
        assert name.lower() in Settings.model_fields


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze isn't on this machine")
    command = tmp_path / "greensplit"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    for unit in units():
        text = unit.read_text().replace("/opt/greensplit/.venv/bin/greensplit", str(command))
        (tmp_path / unit.name).write_text(text)
    written = [str(tmp_path / unit.name) for unit in units()]
    done = subprocess.run(
        ["systemd-analyze", "verify", *written], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "greensplit" in line]
    assert not complaints
    assert done.returncode == 0


def composed() -> dict[str, Any]:
    """The services of the compose file."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def test_the_compose_file_holds_together() -> None:
    found = composed()
    volumes, networks = set(found["volumes"]), set(found["networks"])
    for name, service in found["services"].items():
        assert set(service.get("networks", [])) <= networks, name
        mounted = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert all(source in volumes or (DEPLOY / source).is_file() for source in mounted), name
        assert set(service.get("depends_on", [])) <= set(found["services"]), name
        if service["image"] == "greensplit":
            require_command(list(service["command"]))
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
            assert {
                variable.removeprefix("GREENSPLIT_").lower() for variable in service["environment"]
            } <= set(Settings.model_fields)
    outside = [name for name, service in found["services"].items() if "ports" in service]
    assert outside == ["proxy"]
    assert found["networks"]["inside"]["internal"] is True
    assert "outside" not in found["services"]["jobs"]["networks"], "Dask's ports ask for no password"


def instructions(file: Path) -> Iterator[tuple[str, str]]:
    """The instructions of a Containerfile, and what follows them."""
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            yield tuple(line.split(maxsplit=1))  # type: ignore[misc]


def test_the_containerfile_holds_together() -> None:
    found = list(instructions(DEPLOY / "Containerfile"))
    assert found[0][0] == "FROM"
    known = {
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "ENV",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    }
    assert {name for name, _ in found} <= known
    copied = [source for name, rest in found if name == "COPY" for source in rest.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    said = dict(found)
    assert json.loads(said["ENTRYPOINT"]) == ["greensplit"]
    require_command(json.loads(said["CMD"]))
    assert said["USER"] != "root"
    for name in re.findall(r"GREENSPLIT_(\w+)", said["ENV"]):
        assert name.lower() in Settings.model_fields


def test_the_settings_in_the_file_for_systemd_exist() -> None:
    for name in re.findall(r"^#?GREENSPLIT_(\w+)=", (DEPLOY / "greensplit.env").read_text(), re.MULTILINE):
        assert name.lower() in Settings.model_fields


def test_the_command_for_the_owner_is_plain_shell() -> None:
    script = DEPLOY / "greensplit-admin"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", str(script)], timeout=10, check=False).returncode == 0
