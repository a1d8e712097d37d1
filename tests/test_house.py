"""The house itself: names, floors that no linter sees, light doors, and documents that match the code."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx2
import pytest

import signals

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("api", "kernels", "signals", "sumo_nets")
WRITTEN = (".py", ".md", ".toml", ".yaml", ".yml", ".sh")


def project() -> dict:
    """Everything that pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def written_files() -> list[Path]:
    """Sources and documents, whatever git thinks of them: a clone without git is tested too."""
    folders = (*PACKAGES, "tests", "benchmarks", "docs", ".ci")
    inside = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    top = [path for path in sorted(ROOT.iterdir()) if path.is_file()]
    return [path for path in top + inside if path.suffix in WRITTEN or path.name in ("Makefile", "run")]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command run from the checkout, its output kept."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


# ------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", PACKAGES)
def test_a_top_level_name_has_one_owner(name: str) -> None:
    # Other distributions install modules of these names; in our environment they are ours alone.
    assert set(packages_distributions().get(name, [])) == {"greensplit"}


def test_no_module_shadows_the_standard_library() -> None:
    modules = {path.stem for path in ROOT.glob("*.py")} | {
        path.parent.name for path in ROOT.glob("*/__init__.py")
    }
    assert set(PACKAGES) <= modules
    assert not modules & sys.stdlib_module_names


def test_the_version_is_said_once() -> None:
    assert signals.__version__ == project()["project"]["version"]


# ------------------------------------------------------------------------------------------------- floors


@pytest.mark.parametrize("file", sorted((ROOT / "kernels").rglob("*.py")), ids=lambda path: path.name)
def test_kernels_import_numpy_and_numba_alone(file: Path) -> None:
    # import-linter needs the names of what is forbidden; this needs only the names of what is allowed.
    imported: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported.add(node.module.split(".")[0])
    allowed = {"kernels", "numpy"} | ({"numba"} if file.name == "_jit.py" else set())
    assert imported - sys.stdlib_module_names <= allowed


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `code`, which may end in SystemExit."""
    script = (
        "import json, sys\n"
        f"try:\n    {code}\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done = run(sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["forecast"],
        ["counts", "check"],
        ["serve"],
        ["plan", "request"],
        ["nightly"],
        ["operate"],
        ["city", "generate"],
    ],
    ids=" ".join,
)
def test_help_is_light(words: list[str]) -> None:
    loaded = loaded_by(f"sys.argv = {['greensplit', *words, '--help']}; from signals.cli import main; main()")
    assert "signals" in loaded
    assert not loaded & {
        *("numba", "llvmlite", "ortools", "matplotlib", "scipy"),
        *("pandas", "pyarrow", "holidays", "lightgbm", "statsforecast"),
        *("sqlalchemy", "fastapi", "distributed", "httpx2"),
    }


def test_the_web_process_is_light() -> None:
    making = "from api.app import create_app; from signals.settings import Settings; "
    making += "create_app(Settings(data='/nowhere')).openapi()"
    loaded = loaded_by(making)
    assert {"api", "fastapi", "sqlalchemy"} <= loaded
    heavy = {"numba", "llvmlite", "ortools", "kernels", "sumo", "sumolib", "libsumo", "traci", "distributed"}
    assert not loaded & (heavy | {"scipy", "matplotlib", "pandas"})


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).parent / "greensplit"
    done = run(str(command), "--help")
    assert done.returncode == 0, done.stderr
    for name in (
        "inspect",
        "optimize",
        "compare",
        "demo",
        "counts",
        "forecast",
        "serve",
        "network",
        "plan",
        "keys",
    ):
        assert name in done.stdout


# --------------------------------------------------------------------------------------------- documents


def test_licence_is_apache_2() -> None:
    assert project()["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "benchmarks/README.md"]
)
def test_every_make_target_in_a_document_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    text = (ROOT / document).read_text()
    code = "\n".join(re.findall(r"`[^`\n]+`", text) + re.findall(r"^ {4}.*$", text, flags=re.MULTILINE))
    code += "\n".join(re.findall(r"^```.*?^```", text, flags=re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code))
    assert named, f"{document} names no make target"
    assert named <= targets


def test_every_link_inside_the_documents_leads_somewhere() -> None:
    dead = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in written_files()
        if document.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert not dead


def test_decisions_are_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    pages = sorted(folder.glob("[0-9][0-9][0-9][0-9]-*.md"))
    assert pages
    for page in pages:
        assert f"({page.name})" in index, f"{page.name} is missing in the index"
        headings = re.findall(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Alternatives"], page.name


def test_nothing_is_left_for_later_in_silence() -> None:
    # An open end belongs in an issue, where it is seen.
    mark = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    found = [str(path.relative_to(ROOT)) for path in written_files() if mark.search(path.read_text())]
    assert not found


def test_the_lock_pins_every_dependency_by_hash() -> None:
    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", name)[0]).lower()

    pins = re.split(
        r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", (ROOT / "requirements.lock").read_text(), flags=re.M)
    )
    pinned = {normal(pin) for pin in pins if "==" in pin and "--hash=sha256:" in pin}
    assert len(pinned) == len(pins), (
        "a line of requirements.lock has no exact release or no hash; run make lock"
    )
    said = project()["project"]
    wanted = [*said["dependencies"], *(n for names in said["optional-dependencies"].values() for n in names)]
    assert {normal(name) for name in wanted} <= pinned
    assert "://" not in (ROOT / "requirements.lock").read_text(), "the lock names a host"


def test_make_serve_answers_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"GREENSPLIT_DATA": str(tmp_path), "GREENSPLIT_PORT": str(port), "GREENSPLIT_WORKERS": "1"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | given
    log = tmp_path / "log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            ["make", "serve"], cwd=ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True
        ) as process,
    ):
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                with suppress(httpx2.TransportError):
                    if httpx2.get(f"http://127.0.0.1:{port}/readyz").is_success:
                        break
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
            else:
                pytest.fail(log.read_text())
            assert httpx2.get(f"http://127.0.0.1:{port}/v1/networks").status_code == 401
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"http://127.0.0.1:{port}/healthz")
