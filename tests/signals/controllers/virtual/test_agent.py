"""The agent in front of a virtual unit: who may do what, what it answers, and that nothing kills it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.controllers.objects import OBJECTS, Oid
from signals.controllers.virtual import messages
from signals.controllers.virtual.agent import AccessRights, Agent, engine_id_of
from signals.controllers.virtual.faults import Fault, FaultKind, Moment
from signals.controllers.virtual.messages import (
    COUNTER,
    GAUGE,
    GET,
    GET_BULK,
    GET_NEXT,
    INTEGER,
    NULL,
    OCTETS,
    OID,
    SET,
    Answer,
    Bound,
    ErrorStatus,
    Malformed,
    Request,
    decode,
    encode,
)
from signals.controllers.virtual.secured import User
from tests.signals.controllers.bench import READER, WRITER, Bench, MakeBench
from tests.signals.controllers.virtual.manager import ask, decode_answer, encode_request
from tests.signals.controllers.virtual.secured_manager import Outcome, talk

STATE = OBJECTS["dbCreateTransaction"].oid()
SPLIT = OBJECTS["splitTime"].oid(2, 1)
NEW_SPLIT = (Bound(SPLIT, INTEGER, 20),)


def get(*oids: Oid) -> Request:
    return Request(GET, 7, tuple(map(Bound, oids)))


def put(*bounds: Bound) -> Request:
    return Request(SET, 8, bounds)


# ---- version 2c ----------------------------------------------------------------------------------------------


def test_reading_needs_either_community(make_bench: MakeBench) -> None:
    agent = make_bench().agent
    for community in (b"public", b"secret"):
        assert ask(agent, community, get(STATE)).bounds == (Bound(STATE, INTEGER, 1),)


@pytest.mark.parametrize("community", [b"", b"PUBLIC", b"public\0", b"private", b"\xff\xfe"])
def test_a_stranger_gets_no_answer_and_changes_nothing(make_bench: MakeBench, community: bytes) -> None:
    bench = make_bench()
    before = dict(bench.values)
    for request in (get(STATE), put(*NEW_SPLIT)):
        assert bench.agent.answer(encode_request(community, request)) is None
    assert bench.values == before


def test_an_empty_community_opens_nothing(make_bench: MakeBench) -> None:
    agent = Agent(make_bench().database, AccessRights("", ""))
    assert agent.answer(encode_request(b"", get(STATE))) is None
    assert agent.answer(encode_request(b"", put(*NEW_SPLIT))) is None


def test_the_reading_community_may_write_nothing(make_bench: MakeBench) -> None:
    bench = make_bench()
    before = dict(bench.values)
    for name, kind in OBJECTS.items():
        request = put(Bound(kind.oid(*[1] * kind.indices), INTEGER, 1))
        assert ask(bench.agent, b"public", request).status is ErrorStatus.noAccess, name
    assert bench.values == before
    assert bench.unit.told == []


def test_communities_are_openers_of_transactions(make_bench: MakeBench) -> None:
    bench = make_bench()
    assert bench.database.set([Bound(STATE, INTEGER, 2)], "somebody") is None
    refused = ask(bench.agent, b"secret", put(*NEW_SPLIT))
    assert (refused.status, refused.index) == (ErrorStatus.genErr, 0)


def test_a_refusal_names_the_varbind_and_sends_it_back(make_bench: MakeBench) -> None:
    agent = make_bench().agent
    bounds = (*NEW_SPLIT, Bound(OBJECTS["splitTime"].oid(2, 2), INTEGER, 256))
    assert ask(agent, b"secret", put(*bounds)) == Answer(bounds, ErrorStatus.wrongValue, 2)


def test_what_isnt_there_is_said_apart(make_bench: MakeBench) -> None:
    unknown, no_row = (1, 3, 6, 1, 2, 1, 1, 5, 0), OBJECTS["splitTime"].oid(49, 1)
    answer = ask(make_bench().agent, b"public", get(unknown, no_row, STATE))
    assert [b.tag for b in answer.bounds] == [messages.NO_OBJECT, messages.NO_INSTANCE, INTEGER]
    assert answer.status is ErrorStatus.noError


def test_getnext_goes_through_everything_in_order(make_bench: MakeBench) -> None:
    bench = make_bench()
    seen: list[Oid] = []
    at: Oid = (1, 3)
    while True:
        (found,) = ask(bench.agent, b"public", Request(GET_NEXT, 1, (Bound(at),))).bounds
        if found.tag == messages.END_OF_VIEW:
            break
        seen.append(found.oid)
        at = found.oid
        if len(seen) == 300:
            break
    assert seen == list(bench.database.layout.oids[:300])
    last = bench.database.layout.oids[-1]
    (end,) = ask(bench.agent, b"public", Request(GET_NEXT, 1, (Bound(last),))).bounds
    assert (end.oid, end.tag) == (last, messages.END_OF_VIEW)


def test_getbulk_repeats_by_row_after_its_non_repeaters(make_bench: MakeBench) -> None:
    bench = make_bench()
    columns = tuple(Bound(OBJECTS[n].prefix) for n in ("maxPatterns", "splitTime", "splitMode"))
    answer = ask(bench.agent, b"public", Request(GET_BULK, 1, columns, 1, 3))
    names = [OBJECTS["maxPatterns"].oid()]
    for phase in (1, 2, 3):
        names += [OBJECTS["splitTime"].oid(1, phase), OBJECTS["splitMode"].oid(1, phase)]
    assert [b.oid for b in answer.bounds] == names


@pytest.mark.parametrize(("first", "second"), [(0, 2**31 - 1), (2**31 - 1, 5), (-1, -1), (0, 0)])
def test_getbulk_takes_any_numbers(make_bench: MakeBench, first: int, second: int) -> None:
    agent = make_bench(max_message=484).agent
    data = agent.answer(encode_bulk(first, second))
    assert data is not None
    assert len(data) <= 484
    assert decode_answer(data).status is ErrorStatus.noError


def encode_bulk(first: int, second: int) -> bytes:
    """A GETBULK whose numbers pysnmp wouldn't encode: put together by the agent's own encoder."""
    request = encode(b"public", 1, Answer((Bound((1, 3)),)))
    start = request.index(b"\xa2")
    pdu = bytearray(request[start:])
    pdu[0] = GET_BULK
    body = bytes(pdu[2:])
    numbers = b"".join(bytes((INTEGER, 4)) + n.to_bytes(4, signed=True) for n in (first, second))
    body = body[:3] + numbers + body[9:]
    inner = request[2:start] + bytes((GET_BULK, len(body))) + body
    return bytes((0x30, len(inner))) + inner


@pytest.mark.parametrize("size", [484, 1472])
def test_no_message_is_larger_than_the_unit_takes(make_bench: MakeBench, size: int) -> None:
    agent = make_bench(max_message=size).agent
    data = agent.answer(encode_request(b"public", Request(GET_BULK, 1, (Bound((1, 3)),), 0, 500)))
    assert data is not None
    assert size - 60 < len(data) <= size
    many = [OBJECTS["dbVerifyError"].oid()] * 20
    asked = encode_request(b"public", get(*many))
    assert len(asked) <= 484
    bench = make_bench(max_message=484)
    bench.database.refuse_next_verify("x" * 255)
    for step in (2, 3):
        ask(bench.agent, b"secret", put(Bound(STATE, INTEGER, step)))
    assert bench.database.state == 6
    answer = ask(bench.agent, b"public", get(*many))
    assert (answer.status, answer.bounds) == (ErrorStatus.tooBig, ())


def test_18_splits_fit_into_484_octets_and_a_larger_message_is_dropped(make_bench: MakeBench) -> None:
    bench = make_bench(max_message=484)
    splits = [Bound(OBJECTS["splitTime"].oid(s, n), INTEGER, 9) for s in (2, 3) for n in range(1, 17)]
    assert ask(bench.agent, b"secret", put(*splits[:18])).status is ErrorStatus.noError
    assert bench.values["splitTime", (3, 2)] == 9
    large = encode_request(b"secret", put(*splits))
    assert len(large) > 484
    assert bench.agent.answer(large) is None
    assert bench.values["splitTime", (3, 3)] == 0


def test_messages_below_what_every_unit_must_take_cant_be_ordered(make_bench: MakeBench) -> None:
    with pytest.raises(ValueError, match="484"):
        make_bench(max_message=483)


# ---- the codec against pyasn1 --------------------------------------------------------------------------------

number = st.integers(0, 2**32 - 1)
oids = st.tuples(st.integers(0, 2), st.integers(0, 39), st.lists(number, min_size=1, max_size=30)).map(
    lambda parts: (parts[0], parts[1], *parts[2])
)
values = st.one_of(
    st.just((NULL, None)),
    st.tuples(st.just(INTEGER), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(OCTETS), st.binary(max_size=300)),
    st.tuples(st.just(OID), oids),
    st.tuples(st.sampled_from([COUNTER, GAUGE]), number),
)
bounds = st.lists(st.builds(lambda oid, v: Bound(oid, *v), oids, values), max_size=20).map(tuple)


@given(st.sampled_from([GET, GET_NEXT, SET]), st.integers(0, 2**31 - 1), bounds, st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_requests_read_as_pyasn1_writes_them(
    kind: int, number: int, bounds: tuple[Bound, ...], community: bytes
) -> None:
    request = Request(kind, number, bounds)
    assert decode(encode_request(community, request)) == (community, request)


@given(st.integers(0, 2**31 - 1), bounds, st.sampled_from(list(ErrorStatus)))
@settings(max_examples=60, deadline=None)
def test_answers_are_written_as_pyasn1_reads_them(
    number: int, bounds: tuple[Bound, ...], status: ErrorStatus
) -> None:
    answer = Answer(bounds, status, len(bounds))
    assert decode_answer(encode(b"public", number, answer)) == answer


@given(st.binary(max_size=120))
@settings(max_examples=300, deadline=None)
def test_octets_are_a_message_or_malformed_and_nothing_else(data: bytes) -> None:
    try:
        decode(data)
    except Malformed:
        return
    assert data[0] == 0x30


# ---- what may come in ----------------------------------------------------------------------------------------


def mutations(data: bytes, seed: int) -> list[bytes]:
    """A message cut at each octet, and with each octet changed."""
    cut = [data[:k] for k in range(len(data))]
    changed = [data[:k] + bytes(((data[k] + seed) % 256,)) + data[k + 1 :] for k in range(len(data))]
    return [*cut, *changed, data + b"\0", data * 2]


@pytest.mark.parametrize("seed", [1, 128, 255])
def test_malformed_messages_do_no_harm(make_bench: MakeBench, seed: int) -> None:
    bench = make_bench()
    before = dict(bench.values)
    whole = encode_request(b"public", put(*NEW_SPLIT, Bound(STATE, INTEGER, 2)))
    for data in [*mutations(whole, seed), b"", bytes(1472), b"\x30\x84\xff\xff\xff\xff" + whole]:
        bench.agent.answer(data)
    assert bench.values == before
    assert bench.database.state == 1
    assert ask(bench.agent, b"public", get(STATE)).bounds[0].value == 1


def test_versions_1_and_unknown_ones_get_no_answer(make_bench: MakeBench) -> None:
    agent = make_bench().agent
    data = encode_request(b"public", get(STATE))
    at = data.index(b"\x02\x01\x01")
    for version in (0, 2, 4, 127):
        assert agent.answer(data[: at + 2] + bytes((version,)) + data[at + 3 :]) is None


def test_a_datagram_that_breaks_off_leaves_the_agent_answering(make_bench: MakeBench) -> None:
    async def run() -> bytes:
        bench = make_bench()
        address = await bench.agent.start()
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()

        class Manager(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _address: object) -> None:
                answered.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Manager, remote_addr=address)
        for data in (
            b"\x30",
            b"\xff" * 9000,
            encode_request(b"public", get(STATE))[:-1],
            b"\x30\x03\x02\x01\x03",
        ):
            transport.sendto(data)
        transport.sendto(encode_request(b"public", get(STATE)))
        data = await asyncio.wait_for(answered, 5)
        transport.close()
        bench.agent.close()
        await asyncio.sleep(0)
        return data

    assert decode_answer(asyncio.run(run())).bounds[0].value == 1


# ---- version 3 -----------------------------------------------------------------------------------------------


def outcome(bench: Bench, user: User, request: Request) -> Outcome:
    return talk(bench.agent, user, [request])[0][0]


def test_the_writing_user_reads_and_writes(make_bench: MakeBench) -> None:
    bench = make_bench()
    requests = [get(STATE), put(*NEW_SPLIT), get(SPLIT)]
    outcomes, _ = talk(bench.agent, WRITER, requests)
    assert [o.status for o in outcomes] == [0, 0, 0]
    assert outcomes[2].values == (20,)
    assert bench.values["splitTime", (2, 1)] == 20


def test_the_reading_user_is_refused_every_write(make_bench: MakeBench) -> None:
    # pysnmp's own access control would let a user without a write view write everything
    bench = make_bench()
    before = dict(bench.values)
    requests = [put(Bound(k.oid(*[1] * k.indices), INTEGER, 1)) for k in OBJECTS.values()]
    outcomes, _ = talk(bench.agent, READER, [get(STATE), *requests])
    assert outcomes[0].values == (1,)
    assert {o.status for o in outcomes[1:]} == {int(ErrorStatus.noAccess)}
    assert bench.values == before
    assert bench.unit.told == []


@pytest.mark.parametrize(
    "user",
    [
        replace(WRITER, auth_key="another-passphrase"),
        replace(WRITER, priv_key="another-passphrase"),
        replace(WRITER, name="nobody"),
    ],
    ids=["wrong authentication", "wrong privacy", "unknown user"],
)
def test_wrong_keys_and_unknown_users_have_no_access(make_bench: MakeBench, user: User) -> None:
    bench = make_bench()
    before = dict(bench.values)
    outcomes, _ = talk(bench.agent, user, [get(STATE), put(*NEW_SPLIT)])
    assert all(refused.error and not refused.values for refused in outcomes)
    assert bench.values == before


@pytest.mark.parametrize("level", ["noAuthNoPriv", "authNoPriv"])
def test_less_than_authentication_and_privacy_is_no_access(make_bench: MakeBench, level: str) -> None:
    bench = make_bench()
    before = dict(bench.values)
    outcomes, _ = talk(bench.agent, WRITER, [get(STATE), put(*NEW_SPLIT)], level=level)
    for refused in outcomes:
        assert refused.error or refused.status == int(ErrorStatus.authorizationError)
        assert refused.values == ()
    assert bench.values == before


def test_users_are_openers_of_transactions(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.database.set([Bound(STATE, INTEGER, 2)], "somebody")
    assert outcome(bench, WRITER, put(*NEW_SPLIT)).status == int(ErrorStatus.genErr)


def test_the_index_of_a_refusal_is_right(make_bench: MakeBench) -> None:
    # pysnmp's own responder gives 1 unless the last varbind is at fault
    wrong = Bound(OBJECTS["splitTime"].oid(2, 2), INTEGER, 256)
    more = Bound(OBJECTS["splitTime"].oid(2, 3), INTEGER, 20)
    refused = outcome(make_bench(), WRITER, put(*NEW_SPLIT, wrong, more))
    assert (refused.status, refused.index) == (int(ErrorStatus.wrongValue), 2)


def test_a_walk_by_version_3_is_whole_and_within_size(make_bench: MakeBench) -> None:
    bench = make_bench(max_message=484)
    at, seen = (1, 3), 0
    requests = [Request(GET_BULK, 1, (Bound(at),), 0, 50)]
    outcomes, datagrams = talk(bench.agent, READER, requests)
    seen = len(outcomes[0].oids)
    assert outcomes[0].oids == bench.database.layout.oids[:seen]
    assert seen > 5
    assert max(len(d.answer or b"") for d in datagrams) <= 484


def captured_set(bench: Bench) -> bytes:
    """The datagram of a SET that has been answered."""
    _, datagrams = talk(bench.agent, WRITER, [put(*NEW_SPLIT)])
    assert bench.values["splitTime", (2, 1)] == 20
    return datagrams[-1].request


def changed_by_replay(bench: Bench, datagram: bytes) -> bool:
    bench.values["splitTime", (2, 1)] = 33
    bench.agent.answer(datagram)
    return bench.values["splitTime", (2, 1)] != 33


def test_a_set_replayed_much_later_does_nothing(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    datagram = captured_set(bench)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 152)
    assert not changed_by_replay(bench, datagram)
    monkeypatch.setattr(time, "time", lambda: real() + 1e6)
    assert not changed_by_replay(bench, datagram)


def test_a_set_replayed_after_a_restart_does_nothing(make_bench: MakeBench) -> None:
    bench = make_bench()
    datagram = captured_set(bench)
    asyncio.run(reboot(bench))
    assert not changed_by_replay(bench, datagram)


async def reboot(bench: Bench) -> None:
    bench.agent.reboot()


def test_a_set_replayed_to_another_unit_does_nothing(make_bench: MakeBench) -> None:
    bench, other = make_bench(), make_bench()
    assert outcome(other, WRITER, get(STATE)).values == (1,)
    assert not changed_by_replay(other, captured_set(bench))


def test_within_its_window_of_150_s_version_3_lets_a_set_be_repeated(make_bench: MakeBench) -> None:
    # RFC 3414 has no more than the window against replays: SETs have to be harmless when done twice, as ours are
    bench = make_bench()
    assert changed_by_replay(bench, captured_set(bench))


@pytest.mark.parametrize("seed", [1, 128])
def test_altered_messages_of_version_3_do_no_harm(make_bench: MakeBench, seed: int) -> None:
    bench = make_bench()
    datagram = captured_set(bench)
    for data in mutations(datagram, seed)[::3]:
        assert not changed_by_replay(bench, data)
    assert outcome(bench, WRITER, get(STATE)).values == (1,)


def test_a_silent_unit_is_silent_in_version_3_as_well(make_bench: MakeBench) -> None:
    bench = make_bench(Fault(FaultKind.SILENCE, Moment.SET), Fault(FaultKind.REBOOT, Moment.SET, 2))
    assert outcome(bench, WRITER, get(STATE)).values == (1,)
    silent = outcome(bench, WRITER, put(*NEW_SPLIT))
    assert "timeout" in silent.error.lower()
    assert bench.values["splitTime", (2, 1)] == 0
    assert "timeout" in outcome(bench, WRITER, put(*NEW_SPLIT)).error.lower()
    assert "power_cycle" in bench.unit.told
    assert outcome(bench, WRITER, get(STATE)).values == (1,)


def test_without_users_version_3_is_silent(make_bench: MakeBench) -> None:
    bench = make_bench()
    datagram = captured_set(bench)
    assert Agent(bench.database, AccessRights()).answer(datagram) is None


def test_engine_ids_are_the_same_each_time_and_differ_by_unit() -> None:
    assert engine_id_of("j3") == engine_id_of("j3")
    names: Sequence[str] = [f"j{n}" for n in range(500)]
    assert len({engine_id_of(n) for n in names}) == len(names)
    assert all(5 <= len(engine_id_of(n)) <= 32 for n in names)


@pytest.mark.parametrize(
    ("name", "auth", "priv"),
    [("", "longenough", "longenough"), ("a", "short", "longenough"), ("a", "longenough", "x")],
)
def test_a_user_has_a_name_and_long_passphrases(name: str, auth: str, priv: str) -> None:
    with pytest.raises(ValueError, match="8 or more"):
        User(name, auth, priv)
