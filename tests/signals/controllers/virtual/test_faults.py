"""Faults that are ordered strike where they were ordered, and do what they say."""

from __future__ import annotations

import asyncio
import socket

import pytest

from signals.controllers.objects import OBJECTS
from signals.controllers.virtual import messages
from signals.controllers.virtual.faults import Fault, FaultKind, FaultLine, Moment, parse_fault
from signals.controllers.virtual.messages import INTEGER, Bound, ErrorStatus, Request
from signals.errors import InputError
from tests.signals.controllers.bench import Bench, MakeBench
from tests.signals.controllers.virtual.manager import ask, encode_request, error_of

STATE = OBJECTS["dbCreateTransaction"].oid()
SPLITS = tuple(Bound(OBJECTS["splitTime"].oid(2, n), INTEGER, 20 + n) for n in range(1, 5))


def set_request(*bounds: Bound) -> Request:
    return Request(messages.SET, 1, bounds)


def step(state: int) -> Request:
    return set_request(Bound(STATE, INTEGER, state))


GET = Request(messages.GET, 1, (Bound(STATE),))


def splits_of(bench: Bench) -> list[object]:
    return [bench.values["splitTime", (2, n)] for n in range(1, 5)]


@pytest.mark.parametrize("nth", [1, 2, 5])
def test_a_fault_strikes_the_message_it_was_ordered_for_and_no_other(nth: int) -> None:
    line = FaultLine([Fault(FaultKind.SLOW, Moment.SET, nth, count=2)])
    struck = [bool(line.strike([Moment.MESSAGE, Moment.SET])) for _ in range(8)]
    assert [k for k, s in enumerate(struck, 1) if s] == [nth, nth + 1]


def test_messages_of_other_kinds_dont_count() -> None:
    line = FaultLine([Fault(FaultKind.SLOW, Moment.SET, 2)])
    assert not line.strike([Moment.MESSAGE, Moment.SET])
    assert not line.strike([Moment.MESSAGE, Moment.GET])
    assert FaultKind.SLOW in line.strike([Moment.MESSAGE, Moment.SET])


def test_a_count_of_none_goes_on_for_ever() -> None:
    line = FaultLine([Fault(FaultKind.SLOW, nth=3, count=0)])
    assert [bool(line.strike([Moment.MESSAGE])) for _ in range(50)] == [False] * 2 + [True] * 48


def test_a_fault_ordered_later_counts_from_then_on() -> None:
    line = FaultLine()
    for _ in range(7):
        line.strike([Moment.MESSAGE])
    line.order(Fault(FaultKind.SLOW, nth=2))
    assert [bool(line.strike([Moment.MESSAGE])) for _ in range(3)] == [False, True, False]


def test_chances_are_the_same_with_the_same_seed() -> None:
    def struck(seed: int) -> list[bool]:
        line = FaultLine([Fault(FaultKind.LOST_ANSWER, count=0, chance=0.3)], seed)
        return [bool(line.strike([Moment.MESSAGE])) for _ in range(200)]

    assert struck(5) == struck(5)
    assert struck(5) != struck(6)
    assert 30 < sum(struck(5)) < 90


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("j3:silence@set:2", Fault(FaultKind.SILENCE, Moment.SET, 2)),
        ("j3:slow@message:5,amount=3,count=0", Fault(FaultKind.SLOW, Moment.MESSAGE, 5, 0, 3.0)),
        ("j3:reboot@verify", Fault(FaultKind.REBOOT, Moment.VERIFY)),
        ("j3:clock_skew@open:1,amount=-40", Fault(FaultKind.CLOCK_SKEW, Moment.OPEN, 1, 1, -40.0)),
        (
            "j3:read_only@set:1,row=splitTime.3.5,chance=0.5",
            Fault(FaultKind.READ_ONLY, Moment.SET, row="splitTime.3.5", chance=0.5),
        ),
        ("j3:refused_verify@verify,text=no", Fault(FaultKind.REFUSED_VERIFY, Moment.VERIFY, text="no")),
    ],
)
def test_orders_are_written_as_text(text: str, fault: Fault) -> None:
    assert parse_fault(text) == ("j3", fault)


def test_names_of_signals_may_hold_colons_and_commas_may_not_hurt() -> None:
    assert parse_fault("cluster:1:2:silence@set:2")[0] == "cluster:1:2"


@pytest.mark.parametrize(
    "text",
    ["", "silence", "j3:silence", "silence@set:2", "j3:silent@set:2", "j3:silence@sets", "j3:silence@set:0",
     "j3:silence@set:x", "j3:slow@set:1,amount=nan", "j3:slow@set:1,amount=-1", "j3:slow@set:1,howmuch=1",
     "j3:half_applied@message:1", "j3:not_applied@get:1", "j3:slow@set:1,chance=2"],
)  # fmt: skip
def test_an_order_that_is_none_is_refused_with_what_could_be(text: str) -> None:
    with pytest.raises(InputError, match="Write SIGNAL:KIND@MOMENT:NTH"):
        parse_fault(text)


# ---- what they do --------------------------------------------------------------------------------------------


def answer(bench: Bench, request: Request) -> tuple[ErrorStatus, int] | None:
    """Error status and index that a request gets; None where it gets no answer. Ordered for the next message."""

    async def asked() -> bytes | None:
        return bench.agent.answer(encode_request(b"secret", request))

    data = asyncio.run(asked())
    return None if data is None else error_of(data)


OK = (ErrorStatus.noError, 0)


def test_half_applied_sets_the_first_half_and_is_a_general_error(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.HALF_APPLIED, Moment.SET))
    assert answer(bench, set_request(*SPLITS)) == (ErrorStatus.genErr, 3)
    assert splits_of(bench) == [21, 22, 0, 0]


def test_half_silent_sets_so_many_and_claims_all(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.HALF_SILENT, Moment.SET, amount=1))
    assert answer(bench, set_request(*SPLITS)) == OK
    assert splits_of(bench) == [21, 0, 0, 0]


def test_not_applied_claims_all_and_does_nothing(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.NOT_APPLIED, Moment.SET))
    assert answer(bench, set_request(*SPLITS)) == OK
    assert splits_of(bench) == [0, 0, 0, 0]
    assert answer(bench, set_request(*SPLITS)) == OK
    assert splits_of(bench) == [21, 22, 23, 24]


def test_a_read_only_row_refuses_and_others_go_on(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.READ_ONLY, Moment.SET, count=0, row="splitTime.2.3"))
    assert answer(bench, set_request(*SPLITS)) == (ErrorStatus.notWritable, 3)
    assert splits_of(bench) == [0, 0, 0, 0]
    assert answer(bench, set_request(SPLITS[0])) == OK
    other = Bound(OBJECTS["splitTime"].oid(2, 13), INTEGER, 9)
    assert (
        answer(make_bench(Fault(FaultKind.READ_ONLY, Moment.SET, row="splitTime.2.1")), set_request(other))
        == OK
    )


def test_a_reboot_loses_the_transaction_and_the_answer(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.REBOOT, Moment.SET, 2))
    assert answer(bench, step(2)) == OK
    assert answer(bench, set_request(*SPLITS)) is None
    assert "power_cycle" in bench.unit.told
    assert bench.database.state == 1
    assert splits_of(bench) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("moment", "way"),
    [
        (Moment.OPEN, ()),
        (Moment.VERIFY, (2,)),
        (Moment.COMMIT, (2, 3)),
        (Moment.DISCARD, (2,)),
    ],
)
def test_a_fault_can_wait_for_each_step_of_the_transaction(
    make_bench: MakeBench, moment: Moment, way: tuple[int, ...]
) -> None:
    bench = make_bench(Fault(FaultKind.SILENCE, moment))
    for state in way:
        assert answer(bench, step(state)) == OK
    last = {Moment.OPEN: 2, Moment.VERIFY: 3}.get(moment, 1)
    before = bench.database.state
    assert answer(bench, step(last)) is None
    assert bench.database.state == before


def test_a_fault_can_wait_for_the_command_of_a_pattern(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.SILENCE, Moment.ACTIVATE))
    assert answer(bench, set_request(*SPLITS)) == OK
    command = set_request(Bound(OBJECTS["systemPatternControl"].oid(), INTEGER, 1))
    assert answer(bench, command) is None
    assert bench.values["systemPatternControl", ()] == 0


def test_a_clock_skew_moves_the_clock_and_a_refused_verify_has_its_text(make_bench: MakeBench) -> None:
    skew = Fault(FaultKind.CLOCK_SKEW, Moment.OPEN, amount=-90)
    refused = Fault(FaultKind.REFUSED_VERIFY, Moment.VERIFY, text="cabinet door open")
    bench = make_bench(skew, refused)
    before = bench.unit.clock_s
    for state in (2, 3):
        assert answer(bench, step(state)) == OK
    assert bench.unit.clock_s == before - 90
    read = bench.database.read(OBJECTS["dbVerifyError"].oid())
    assert read is not None
    assert read.value == b"cabinet door open"
    assert answer(bench, step(1)) == OK
    for state in (2, 3, 1):
        assert answer(bench, step(state)) == OK
    assert bench.database.read(OBJECTS["dbVerifyStatus"].oid()).value == 3  # type: ignore[union-attr]


# ---- on the wire ---------------------------------------------------------------------------------------------


def received(bench: Bench, requests: list[Request], wait_s: float = 0.15) -> list[int]:
    """How many datagrams come back after each request, within `wait_s`."""

    async def talk() -> list[int]:
        address = await bench.agent.start()
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            counts = []
            for request in requests:
                own.sendto(encode_request(b"secret", request), address)
                count, until = 0, loop.time() + wait_s
                while loop.time() < until:
                    try:
                        own.recv(2000)
                        count += 1
                    except BlockingIOError:
                        await asyncio.sleep(0.005)
                counts.append(count)
        bench.agent.close()
        await asyncio.sleep(0)
        return counts

    return asyncio.run(talk())


def test_silence_swallows_so_many_messages_whatever_they_are(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.SILENCE, Moment.SET, count=3))
    assert received(bench, [GET, step(2), GET, GET, GET]) == [1, 0, 0, 0, 1]
    assert bench.database.state == 1


def test_silence_may_be_for_ever(make_bench: MakeBench) -> None:
    assert received(make_bench(Fault(FaultKind.SILENCE, count=0)), [GET] * 4, 0.05) == [0] * 4


def test_a_lost_answer_has_done_its_work(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.LOST_ANSWER, Moment.SET))
    assert received(bench, [step(2), GET]) == [0, 1]
    assert bench.database.state == 2


def test_a_duplicate_comes_twice(make_bench: MakeBench) -> None:
    assert received(make_bench(Fault(FaultKind.DUPLICATE)), [GET, GET]) == [2, 1]


def test_a_slow_answer_comes_late_and_others_overtake_it(make_bench: MakeBench) -> None:
    assert received(make_bench(Fault(FaultKind.SLOW, amount=0.2)), [GET, GET]) == [0, 2]


def test_a_rebooting_unit_is_down_for_a_while(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.REBOOT, amount=0.2))
    assert received(bench, [GET, GET, GET]) == [0, 0, 1]


def test_a_manager_sees_an_ordinary_answer_without_faults(make_bench: MakeBench) -> None:
    assert ask(make_bench().agent, b"secret", GET).bounds == (Bound(STATE, INTEGER, 1),)
