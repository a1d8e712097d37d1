"""Debian's net-snmp as manager of our agent: a whole push, and everything that must be refused.

Skipped where snmpset isn't installed (apt-get install snmp), unless GREENSPLIT_PEERS=required.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest

from signals.controllers.objects import OBJECTS
from signals.controllers.virtual.agent import Address
from signals.controllers.virtual.secured import User
from tests.signals.controllers.bench import READER, WRITER, Bench, MakeBench, Serve

TOOLS = ("snmpget", "snmpset", "snmpbulkwalk")
PLAN_S = {1: 20, 2: 40, 3: 20, 4: 40, 5: 20, 6: 40, 7: 20, 8: 40}


@pytest.fixture(autouse=True)
def tools() -> None:
    missing = [t for t in TOOLS if shutil.which(t) is None]
    if missing and os.environ.get("GREENSPLIT_PEERS") == "required":
        pytest.fail(
            f"{', '.join(missing)}: not installed, and GREENSPLIT_PEERS=required; apt-get install snmp"
        )
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed; apt-get install snmp")


def secured(user: User) -> list[str]:
    words = f"-v3 -l authPriv -u {user.name} -a SHA-256 -A {user.auth_key} -x AES -X {user.priv_key}"
    return words.split()


COMMUNITY = ["-v2c", "-c", "secret"]
AS = {"by community": COMMUNITY, "by user": secured(WRITER)}


def numbers(name: str, *index: int) -> str:
    return ".".join(map(str, OBJECTS[name].oid(*index)))


def run(tool: str, who: Sequence[str], at: Address, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [tool, *who, "-Oqnv", "-t", "3", "-r", "0", f"udp:{at[0]}:{at[1]}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def put(who: Sequence[str], at: Address, *triples: tuple[str, str, object]) -> None:
    done = run("snmpset", who, at, *(part for triple in triples for part in triple))
    assert done.returncode == 0, done.stderr


def seen(who: Sequence[str], at: Address, *oids: str) -> list[str]:
    done = run("snmpget", who, at, *oids)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[: len(oids)]


def refused(who: Sequence[str], at: Address, *triples: tuple[str, str, object]) -> str:
    done = run("snmpset", who, at, *(part for triple in triples for part in triple))
    assert done.returncode != 0
    return done.stderr + done.stdout


def chunks(triples: Sequence[tuple[str, str, object]]) -> list[Sequence[tuple[str, str, object]]]:
    return [triples[k : k + 16] for k in range(0, len(triples), 16)]


@pytest.mark.parametrize("who", AS.values(), ids=AS.keys())
def test_a_plan_is_pushed_by_snmpset_alone(make_bench: MakeBench, serve: Serve, who: list[str]) -> None:
    bench = make_bench()
    at = serve(bench)
    state, pattern = numbers("dbCreateTransaction"), 7
    put(who, at, (state, "i", 2))
    rows: list[tuple[str, str, object]] = [
        (numbers("patternCycleTime", pattern), "i", 120),
        (numbers("patternOffsetTime", pattern), "i", 17),
        (numbers("patternSequenceNumber", pattern), "i", 2),
        (numbers("sequenceData", 2, 1), "x", "02010304"),
        (numbers("sequenceData", 2, 2), "x", "05060708"),
    ]
    for phase, split in PLAN_S.items():
        rows += [
            (numbers("splitTime", pattern, phase), "i", split),
            (numbers("splitMode", pattern, phase), "i", 2),
            (numbers("splitCoordPhase", pattern, phase), "i", int(phase in (2, 6))),
        ]
    for chunk in chunks(rows):
        put(who, at, *chunk)
    cycle = numbers("patternCycleTime", pattern)
    assert seen(who, at, cycle) == ["0"]
    put(who, at, (state, "i", 3))
    assert seen(who, at, state, numbers("dbVerifyStatus")) == ["6", "3"]
    put(who, at, (state, "i", 1))
    assert seen(who, at, cycle, numbers("splitTime", pattern, 2)) == ["120", "40"]
    assert seen(who, at, numbers("sequenceData", 2, 1)) == ['"02 01 03 04 "']
    put(who, at, (numbers("systemPatternControl"), "i", pattern))
    assert bench.values["systemPatternControl", ()] == pattern
    assert bench.values["sequenceData", (2, 1)] == bytes((2, 1, 3, 4))


@pytest.mark.parametrize("who", AS.values(), ids=AS.keys())
def test_a_plan_that_doesnt_add_up_is_refused_by_the_unit(
    make_bench: MakeBench, serve: Serve, who: list[str]
) -> None:
    bench = make_bench()
    at = serve(bench)
    state = numbers("dbCreateTransaction")
    put(who, at, (state, "i", 2))
    put(who, at, (numbers("patternCycleTime", 1), "i", 110))
    put(who, at, (state, "i", 3))
    status, error = seen(who, at, numbers("dbVerifyStatus"), numbers("dbVerifyError"))
    assert status == "2"
    assert "splits add up to 100 s, but the cycle is 110 s" in error
    put(who, at, (state, "i", 1))
    assert bench.values["patternCycleTime", (1,)] == 100


@pytest.mark.parametrize(
    ("triple", "said"),
    [
        ((numbers("splitTime", 2, 1), "i", 256), "wrongValue"),
        ((numbers("splitTime", 2, 1), "s", "20"), "wrongType"),
        ((numbers("splitTime", 49, 1), "i", 20), "noCreation"),
        ((numbers("coordPatternStatus"), "i", 1), "notWritable"),
        ((numbers("patternSplitNumber", 1), "i", 2), "notWritable"),
        ((numbers("dbCreateTransaction"), "i", 3), "badValue"),
    ],
)
@pytest.mark.parametrize("who", AS.values(), ids=AS.keys())
def test_what_is_wrong_is_refused_and_named(
    make_bench: MakeBench, serve: Serve, who: list[str], triple: tuple[str, str, object], said: str
) -> None:
    bench = make_bench()
    before = dict(bench.values)
    error = refused(who, serve(bench), (numbers("splitTime", 3, 1), "i", 20), triple)
    assert said in error
    assert triple[0].removeprefix("1") in error
    assert bench.values == before


def test_another_opener_gets_a_general_error(make_bench: MakeBench, serve: Serve) -> None:
    bench = make_bench()
    at = serve(bench)
    put(COMMUNITY, at, (numbers("dbCreateTransaction"), "i", 2))
    for triple in ((numbers("splitTime", 2, 1), "i", 20), (numbers("dbCreateTransaction"), "i", 1)):
        assert "genErr" in refused(secured(WRITER), at, triple)
    assert bench.database.state == 2


@pytest.mark.parametrize(
    ("who", "said"),
    [
        (["-v2c", "-c", "public"], "noAccess"),
        (["-v2c", "-c", "stranger"], "No Response"),
        (["-v1", "-c", "secret"], "No Response"),
        (secured(READER), "noAccess"),
        (secured(User("operator", "another-passphrase", WRITER.priv_key)), "Authentication failure"),
        (secured(User("operator", WRITER.auth_key, "another-passphrase")), "Decryption error"),
        (secured(User("nobody", WRITER.auth_key, WRITER.priv_key)), "Unknown user name"),
        (["-v3", "-l", "noAuthNoPriv", "-u", "operator"], "Unsupported security level|authorizationError"),
    ],
    ids=[
        "reader",
        "stranger",
        "version 1",
        "reading user",
        "wrong key",
        "wrong privacy",
        "nobody",
        "no security",
    ],
)
def test_who_may_not_write_doesnt(make_bench: MakeBench, serve: Serve, who: list[str], said: str) -> None:
    bench = make_bench()
    before = dict(bench.values)
    error = refused(who, serve(bench), (numbers("splitTime", 2, 1), "i", 20))
    assert any(word in error for word in said.split("|")), error
    assert bench.values == before


@pytest.mark.parametrize("who", [*AS.values(), secured(READER)], ids=[*AS.keys(), "by reading user"])
def test_a_walk_sees_every_object_once(make_bench: MakeBench, serve: Serve, who: list[str]) -> None:
    bench: Bench = make_bench()
    at = serve(bench)
    walked: list[str] = []
    for root in ("1.3.6.1.4.1.1206.4.2.1", "1.3.6.1.4.1.1206.4.2.6"):
        done = subprocess.run(
            ["snmpbulkwalk", *who, "-Oqn", "-Cr25", f"udp:{at[0]}:{at[1]}", root],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        walked += [line.split()[0] for line in done.stdout.splitlines() if "No more" not in line]
    assert walked == ["." + ".".join(map(str, oid)) for oid in bench.database.layout.oids]
