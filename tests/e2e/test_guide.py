"""Pages that are typed as they stand: every block of them runs, and says what the page says that it says."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide" / "first-hour.md"
API = ROOT / "docs" / "api.md"
PATIENCE_S = 1200
_BLOCK = re.compile(r"^```(\w+)(?: exit=(\d+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Something to type, the exit code that it ends with, and lines of what it says, in their order."""

    language: str
    code: str
    exit_code: int
    said: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """A page's blocks; a block of text belongs to the one before it."""
    found: list[Block] = []
    for language, exit_code, code in _BLOCK.findall(page.read_text()):
        if language == "text":
            last = found.pop()
            found.append(Block(last.language, last.code, last.exit_code, tuple(code.splitlines())))
        else:
            found.append(Block(language, code, int(exit_code or 0), ()))
    return found


def missing(expected: Sequence[str], output: str) -> str | None:
    """The first line that isn't said; blanks don't count, and `…` stands for anything."""
    rest = re.sub(r"\s+", " ", output)
    for line in expected:
        parts = [re.escape(re.sub(r"\s+", " ", part.strip())) for part in line.split("…")]
        found = re.search(r"\s?.*?\s?".join(parts), rest)
        if found is None:
            return line
        rest = rest[found.end() :]
    return None


def type_in(terminal: Terminal, typed: Sequence[Block]) -> None:
    """Run blocks one after another, and look at what they say."""
    for block in typed:
        code, output = terminal.run(block)
        assert code == block.exit_code, f"{block.code}ended with {code}:\n{output}"
        absent = missing(block.said, output)
        assert absent is None, f"{block.code}should say {absent!r}, and says:\n{output}"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


class Terminal:
    """One bash for all blocks, so that variables and jobs in the background carry over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = f"end-of-block-{secrets.token_hex(8)}"
        environment = {name: value for name, value in os.environ.items() if "GREENSPLIT" not in name}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOUR": str(folder / "hour"),
            "GREENSPLIT_PORT": str(free_port()),
        }
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._number = 0
        # the status of whatever failed last, wherever it stands in a block
        self._type("set -o pipefail; trap 'failed=$?' ERR")

    def run(self, block: Block) -> tuple[int, str]:
        """The exit code of what failed last, 0 where nothing did, and everything that was said."""
        self._number += 1
        file = self._folder / f"block{self._number}"
        file.write_text(block.code)
        typed = f"source {file}" if block.language == "sh" else f"python {file}"
        self._type(f'failed=0; {typed} </dev/null; echo; echo "{self._mark} $failed"')
        assert self._bash.stdout is not None
        said: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(self._mark):
                return int(line.split()[1]), "".join(said)
            said.append(line)
        raise AssertionError("bash ended early:\n" + "".join(said))

    def _type(self, line: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(line + "\n")
        self._bash.stdin.flush()

    def kill(self) -> None:
        """End bash and what it has started; what reads from it sees the end."""
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing behind."""
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGTERM)
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.close()
        for _line in self._bash.stdout:
            pass  # until everything that was started has ended
        self._bash.stdout.close()
        self._bash.wait()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in the checkout, which doesn't outlast our patience."""
    opened = Terminal(tmp_path)
    watch = threading.Timer(PATIENCE_S, opened.kill)
    watch.start()
    yield opened
    opened.close()
    watch.cancel()
    watch.join()


@pytest.mark.slow
def test_the_guide_runs_as_it_stands(terminal: Terminal) -> None:
    type_in(terminal, blocks(GUIDE))


# a network that nobody reads: these requests need no jobs
SERVICE = """
export GREENSPLIT_DATA=$HOUR GREENSPLIT_SERVER=http://127.0.0.1:$GREENSPLIT_PORT SERVER=http://127.0.0.1:$GREENSPLIT_PORT
export KEY=$(greensplit keys create Ada --role engineer | tail -n 1)
greensplit serve --part web 2>$HOUR.log &
until curl --silent --fail --output /dev/null $SERVER/readyz; do sleep 0.2; done
greensplit --key $KEY network upload sumo_nets/single/single.sumocfg --timezone Europe/Vienna --no-wait
cd $HOUR
"""


def test_the_page_on_the_api_runs_as_it_stands(terminal: Terminal) -> None:
    type_in(terminal, [Block("sh", SERVICE, 0, ("network 1 (single) is reading: ? signals",)), *blocks(API)])


def test_a_terminal_keeps_its_variables_and_tells_what_failed(terminal: Terminal) -> None:
    assert terminal.run(Block("sh", "export A=b\nfalse\ntrue\n", 0, ()))[0] == 1
    assert terminal.run(Block("sh", "until true; do sleep 1; done\necho $A\n", 0, ())) == (0, "b\n\n")
    said = terminal.run(Block("python", "import os\nprint(os.environ['A'] * 2)\n", 0, ()))
    assert said == (0, "bb\n\n")
    assert terminal.run(Block("python", "raise SystemExit(3)\n", 0, ()))[0] == 3
    assert terminal.run(Block("sh", "false | tee /dev/null\n", 0, ()))[0] == 1


def test_what_a_block_says_is_compared_line_by_line() -> None:
    assert missing(["a  b", "c … e"], "x a b\nc d e") is None
    assert missing(["c … e", "a b"], "a b c d e") == "a b"
    assert missing(["4 …"], "5 6") == "4 …"


def test_the_guide_says_what_it_expects() -> None:
    found = blocks(GUIDE)
    assert {block.language for block in found} == {"sh", "python"}
    assert sum(bool(block.said) for block in found) > len(found) / 2
    assert [block.exit_code for block in found].count(0) < len(found), "a refusal is shown"
