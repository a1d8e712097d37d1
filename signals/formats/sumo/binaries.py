"""Where SUMO's programs are (in the wheel that Greensplit depends on, in $SUMO_HOME, or on the PATH), and how they
are started: with an end to them when whoever started them is gone."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from signals.errors import SimulationError


def find_binary(name: str) -> Path:
    """The program of this name (sumo, duarouter, netconvert, …) that Greensplit runs.

    The wheel comes first, so that two machines with the same lock file run the same SUMO whatever else
    is installed on them.

    Raises
    ------
    SimulationError
        Where SUMO isn't installed at all, or this program of it is missing.
    """
    homes = [_wheel_home(), _environment_home()]
    file_name = f"{name}.exe" if os.name == "nt" else name
    for home in homes:
        if home is not None:
            candidate = home / "bin" / file_name
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return candidate
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    searched = ", ".join([*(str(home / "bin") for home in homes if home is not None), "PATH"])
    raise SimulationError(
        f"SUMO's program {name!r} wasn't found (looked in {searched}); "
        "install it with: pip install 'eclipse-sumo>=1.28,<2'"
    )


def sumo_home(binary: Path) -> Path | None:
    """The installation folder a program belongs to, as SUMO_HOME should name it; None if unknown."""
    for folder in (binary.resolve().parents[1], _wheel_home(), _environment_home()):
        if folder is not None and (folder / "data" / "xsd").is_dir():
            return folder
    return None


def sumo_environment(binary: Path) -> dict[str, str]:
    """The environment to start a SUMO program in: this process's own, with SUMO_HOME fitting the program."""
    environment = dict(os.environ)
    home = sumo_home(binary)
    if home is not None:
        environment["SUMO_HOME"] = str(home)
    return environment


def ending_with_us(command: Sequence[str], by: str = "KILL") -> list[str]:
    """The command, to be started so that it ends when the thread that starts it does, were it by `kill -9`.

    The kernel sends the signal `by` (Linux). Where setpriv of util-linux 2.33 or newer isn't installed the command is
    as it was, and what it starts may outlive us.
    """
    # asking for it between fork and exec (preexec_fn) would copy the whole process first, and isn't safe with threads
    setpriv = _setpriv()
    return [setpriv, "--pdeathsig", by, "--", *command] if setpriv else list(command)


@cache
def _setpriv() -> str | None:
    found = shutil.which("setpriv")
    if found is None:
        return None
    tried = subprocess.run([found, "--pdeathsig", "KILL", "--", "true"], capture_output=True, check=False)
    return found if tried.returncode == 0 else None


@cache
def sumo_version(binary: Path) -> str:
    """Version that a SUMO program states of itself, such as ``1.28.0``.

    Raises
    ------
    SimulationError
        Where the program can't be started or states no version.
    """
    try:
        done = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SimulationError(f"{binary}: can't be started: {error}") from None
    stated = re.search(r"Eclipse SUMO \S+ (?:Version )?v?(\d\S*)", done.stdout)
    if stated is None:
        said = (done.stderr or done.stdout).strip()[:300]
        raise SimulationError(f"{binary}: states no version; is it SUMO? It said: {said or 'nothing'}")
    return stated.group(1)


@cache
def _wheel_home() -> Path | None:
    # The package is found without being run: its __init__ sets SUMO_HOME in the environment.
    spec = importlib.util.find_spec("sumo")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(folder) / "bin").is_dir():
            return Path(folder)
    return None


def _environment_home() -> Path | None:
    home = os.environ.get("SUMO_HOME", "").strip()
    return Path(home) if home else None
