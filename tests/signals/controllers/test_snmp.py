"""The SNMP manager: its octets against pysnmp's, its nerves against answers that are none, SNMPv3 against snmpd."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto.api import v2c

from signals.controllers.ntcip_database import client_of
from signals.controllers.objects import OBJECTS, may_write, name_of
from signals.controllers.snmp import Community, SnmpClient, User, V3Engines
from signals.controllers.snmp_codec import (
    GET,
    RESPONSE,
    SET,
    Message,
    Oid,
    Value,
    decode,
    encode,
    encode_value,
)
from signals.errors import ControllerRefused, ControllerUnreachable
from tests.peers.agents import AUTH_KEY, PRIV_KEY, snmpd_agent, unit_values

SPLITS = [OBJECTS["splitTime"].oid(1, phase) for phase in range(1, 17)]
PATTERN = OBJECTS["patternCycleTime"].oid(1)
PHASES = OBJECTS["maxPhases"].oid()
NAME = b"watchword"
READER = Community(NAME.decode())

oids = st.tuples(st.just(1), st.just(3)).flatmap(
    lambda head: st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20).map(lambda tail: (*head, *tail))
)
values = st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1), st.binary(max_size=300), oids)


# ------------------------------------------------------------------------------------------------------ octets


@given(st.lists(st.tuples(oids, values), max_size=20), st.integers(0, 2**31 - 1), st.sampled_from((GET, SET)))
def test_pysnmp_reads_what_we_write(
    pairs: list[tuple[Oid, Value | None]], request_id: int, kind: int
) -> None:
    octets = encode(Message(NAME, kind, request_id, 0, 0, pairs))
    message, rest = decoder.decode(octets, asn1Spec=v2c.Message())
    pdu = v2c.apiMessage.get_pdu(message)
    assert rest == b""
    assert bytes(v2c.apiMessage.get_community(message)) == NAME
    assert type(pdu) is type(v2c.GetRequestPDU() if kind == GET else v2c.SetRequestPDU())
    assert int(v2c.apiPDU.get_request_id(pdu)) == request_id
    found = [(tuple(oid), value) for oid, value in v2c.apiPDU.get_varbinds(pdu)]
    assert [oid for oid, _ in found] == [oid for oid, _ in pairs]
    for (_, theirs), (_, ours) in zip(found, pairs):
        match ours:
            case None:
                assert isinstance(theirs, v2c.Null)
            case int():
                assert int(theirs) == ours
            case bytes():
                assert bytes(theirs) == ours
            case _:
                assert tuple(theirs) == ours


@given(
    st.lists(
        st.tuples(
            oids,
            st.one_of(
                st.integers(-(2**31), 2**31 - 1).map(v2c.Integer),
                st.integers(0, 2**32 - 1).map(v2c.Counter32),
                st.integers(0, 2**32 - 1).map(v2c.TimeTicks),
                st.integers(0, 2**64 - 1).map(v2c.Counter64),
                st.binary(max_size=300).map(v2c.OctetString),
                oids.map(v2c.ObjectIdentifier),
            ),
        ),
        max_size=20,
    ),
    st.integers(0, 18),
)
def test_we_read_what_pysnmp_writes(pairs: list, status: int) -> None:
    octets = response_of_pysnmp(pairs, status)
    found = decode(octets)
    assert (found.kind, found.community, found.request_id, found.status) == (RESPONSE, NAME, 77, status)
    for (oid, theirs), (ours_oid, ours) in zip(pairs, found.pairs, strict=True):
        assert ours_oid == oid
        assert ours == (
            bytes(theirs)
            if isinstance(theirs, v2c.OctetString)
            else tuple(theirs)
            if isinstance(theirs, v2c.ObjectIdentifier)
            else int(theirs)
        )


def response_of_pysnmp(pairs: Sequence, status: int = 0) -> bytes:
    """A response with request id 77, as pysnmp writes it."""
    pdu, message = v2c.GetResponsePDU(), v2c.Message()
    v2c.apiPDU.set_defaults(pdu)
    v2c.apiPDU.set_request_id(pdu, 77)
    v2c.apiPDU.set_error_status(pdu, status)
    v2c.apiPDU.set_varbinds(pdu, pairs)
    v2c.apiMessage.set_defaults(message)
    v2c.apiMessage.set_community(message, NAME)
    v2c.apiMessage.set_pdu(message, pdu)
    octets: bytes = encoder.encode(message)
    return octets


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 32767, 32768, 2**31 - 1, -1, -127, -129])
def test_integers_are_as_short_as_pysnmps(value: int) -> None:
    assert encode_value(value) == encoder.encode(v2c.Integer(value))


def test_integers_are_as_short_as_can_be_where_pysnmps_are_not() -> None:
    assert encode_value(-128) == b"\x02\x01\x80"
    assert encode_value(-(2**31)) == b"\x02\x04\x80\x00\x00\x00"


@pytest.mark.parametrize(
    "oid", [(0, 0), (0, 39), (1, 0), (1, 39), (1, 3, 127, 128), (2, 5), (2, 999, 2**32 - 1)]
)
def test_object_identifiers_are_those_of_pysnmp(oid: Oid) -> None:
    assert encode_value(oid) == encoder.encode(v2c.ObjectIdentifier(oid))
    assert decode(response_of_pysnmp([(oid, v2c.ObjectIdentifier(oid))])).pairs == [(oid, oid)]


def test_an_object_that_an_agent_lacks_has_no_value() -> None:
    pairs = [
        (PHASES, v2c.NoSuchObject("")),
        (PATTERN, v2c.NoSuchInstance("")),
        (SPLITS[0], v2c.EndOfMibView("")),
    ]
    assert [value for _, value in decode(response_of_pysnmp(pairs)).pairs] == [None, None, None]


SOUND = encode(Message(NAME, RESPONSE, 5, 0, 0, [(oid, 20) for oid in SPLITS]))


@given(st.binary(max_size=600))
@example(b"")
@example(b"\x30\x84\xff\xff\xff\xff")
@example(b"\x30\x80\x02\x01\x01\x00\x00")
def test_octets_that_are_no_message_are_told_apart(octets: bytes) -> None:
    with pytest.raises(ValueError):
        decode(octets)


@given(st.integers(0, len(SOUND) - 1), st.integers(0, 255), st.integers(0, len(SOUND)))
def test_a_message_with_a_wrong_octet_is_read_or_refused(at: int, octet: int, cut: int) -> None:
    spoilt = (SOUND[:at] + bytes((octet,)) + SOUND[at + 1 :])[:cut]
    try:
        message = decode(spoilt)
    except ValueError:
        return
    assert isinstance(message.request_id, int)


# ------------------------------------------------------------------------------------------------------ client

Answers = Callable[[Message, int], Sequence[bytes]]
"""What a scripted agent sends back to a message; the number says which try it is, from 1."""


class Scripted(asyncio.DatagramProtocol):
    """An agent that answers as it is told, and keeps what it got."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.got, self.sent = answers, list[bytes](), list[bytes]()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple) -> None:
        self.got.append(data)
        for answer in self.answers(decode(data), self.got.count(data)):
            self.sent.append(answer)
            self.transport.sendto(answer, addr)


def talk(
    answers: Answers,
    what: Callable[[SnmpClient], Awaitable[object]],
    *,
    retries: int = 0,
    credentials: Community = READER,
) -> tuple[object, Scripted]:
    """What comes of a conversation with a scripted agent."""

    async def run() -> tuple[object, Scripted]:
        loop = asyncio.get_running_loop()
        transport, agent = await loop.create_datagram_endpoint(
            lambda: Scripted(answers), local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
        try:
            async with client_of("127.0.0.1", port, credentials, timeout_s=0.1, retries=retries) as client:
                return await what(client), agent
        finally:
            transport.close()

    return asyncio.run(run())


def echo(value: Value | None, **changed: object) -> Answers:
    """An agent that gives this value to every question, as it is; `changed` are fields of its answer."""

    def answers(asked: Message, _: int) -> list[bytes]:
        pairs = [(oid, value if asked.kind == GET else told) for oid, told in asked.pairs]
        return [encode(asked._replace(kind=RESPONSE, pairs=pairs)._replace(**changed))]

    return answers


def test_values_come_back_by_object() -> None:
    found, _ = talk(echo(7), lambda client: client.get([PHASES, PATTERN]))
    assert found == {PHASES: 7, PATTERN: 7}


@pytest.mark.parametrize(
    "wrong",
    [
        {"request_id": 1},
        {"community": b"another"},
        {"kind": GET},
        {"pairs": [(PATTERN, 9)]},
        {"pairs": []},
        {"pairs": [(PHASES, 9), (PHASES, 9)]},
    ],
    ids=["another request", "another community", "no response", "another object", "no object", "too many"],
)
def test_an_answer_to_something_else_is_no_answer(wrong: dict) -> None:
    with pytest.raises(ControllerUnreachable, match=r"no answer to 1 tries of 0\.1 s"):
        talk(echo(9, **wrong), lambda client: client.get([PHASES]))


def test_garbage_before_the_answer_does_no_harm() -> None:
    def answers(asked: Message, _: int) -> list[bytes]:
        sound = echo(8)(asked, 1)[0]
        wrong = echo(9, request_id=asked.request_id ^ 1)(asked, 1)[0]
        return [b"", b"\x30", sound[:-1], sound + b"\0" * 40000, b"\xff" * 60000, wrong, sound, sound]

    found, _ = talk(answers, lambda client: client.get([PHASES]))
    assert found == {PHASES: 8}


def test_an_answer_from_elsewhere_is_no_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:

        def answers(asked: Message, _: int) -> list[bytes]:
            stranger.sendto(echo(9)(asked, 1)[0], asked_from)
            return []

        async def ask(client: SnmpClient) -> None:
            nonlocal asked_from
            asked_from = client._session._transport.get_extra_info("sockname")
            await client.get([PHASES])

        asked_from = ("", 0)
        with pytest.raises(ControllerUnreachable):
            talk(answers, ask)


def test_a_question_is_asked_again_in_the_same_words() -> None:
    found, agent = talk(
        lambda asked, nth: echo(7)(asked, nth) if nth == 3 else [],
        lambda client: client.get([PHASES]),
        retries=3,
    )
    assert found == {PHASES: 7}
    assert len(agent.got) == 3
    assert len(set(agent.got)) == 1


def test_a_step_is_not_asked_again() -> None:
    got: list[Message] = []

    def answers(asked: Message, _: int) -> list[bytes]:
        got.append(asked)
        return []

    with pytest.raises(ControllerUnreachable):
        talk(answers, lambda client: client.set([(PATTERN, 90)], tries=1), retries=3)
    assert len(got) == 1


def test_an_object_off_the_list_is_never_sent() -> None:
    got: list[Message] = []

    def answers(asked: Message, _: int) -> list[bytes]:
        got.append(asked)
        return echo(1)(asked, 1)

    minimum = OBJECTS["phaseMinimumGreen"].oid(2)
    with pytest.raises(
        ControllerRefused, match=r"phaseMinimumGreen\.2 is never to be written; nothing was sent"
    ):
        talk(answers, lambda client: client.set([(PATTERN, 90), (minimum, 1)]))
    assert got == []


def test_every_object_of_the_allow_list_and_no_other_may_be_written() -> None:
    ours = {kind.name for kind in OBJECTS.values() if may_write(kind.oid(*range(1, kind.indices + 1)))}
    assert ours == {kind.name for kind in OBJECTS.values() if kind.ours}


def test_the_write_community_is_for_sets_alone() -> None:
    async def both(client: SnmpClient) -> None:
        await client.get([PATTERN])
        await client.set([(PATTERN, 90)])

    _, agent = talk(echo(7), both, credentials=Community("eyes", "hands"))
    assert [decode(data).community for data in agent.got] == [b"eyes", b"hands"]


def test_questions_and_answers_fit_what_every_agent_takes() -> None:
    async def much(client: SnmpClient) -> None:
        rows = [OBJECTS["splitTime"].oid(row, phase) for row in range(1, 49) for phase in range(1, 17)]
        await client.get([*rows, *(OBJECTS["globalTime"].oid() for _ in range(1))])
        await client.set([(oid, 255) for oid in rows])

    _, agent = talk(echo(255), much)
    assert max(map(len, agent.got + agent.sent)) <= 484
    assert len(agent.got) <= 2 * 48  # 16 or more at a time


def test_an_agent_that_finds_a_message_too_big_gets_smaller_ones() -> None:
    def answers(asked: Message, _: int) -> list[bytes]:
        return echo(3, **({"status": 1} if len(asked.pairs) > 5 else {}))(asked, 1)

    async def both(client: SnmpClient) -> object:
        await client.set([(oid, 9) for oid in SPLITS])
        return await client.get(SPLITS)

    found, agent = talk(answers, both)
    assert found == dict.fromkeys(SPLITS, 3)
    told = [decode(data) for data in agent.got]
    assert [oid for m in told if m.kind == SET and len(m.pairs) <= 5 for oid, _ in m.pairs] == SPLITS


def test_one_object_that_is_too_big_is_refused() -> None:
    with pytest.raises(ControllerRefused, match=r"maxPhases\.0: tooBig"):
        talk(echo(3, status=1), lambda client: client.get([PHASES]))


def test_an_agent_may_say_as_in_version_1_that_it_lacks_an_object() -> None:
    def answers(asked: Message, _: int) -> list[bytes]:
        oids = [oid for oid, _ in asked.pairs]
        lacks = {"status": 2, "about": oids.index(PATTERN) + 1} if PATTERN in oids else {}
        return echo(3, **lacks)(asked, 1)

    found, _ = talk(answers, lambda client: client.get([PHASES, PATTERN, SPLITS[0]]))
    assert found == {PHASES: 3, PATTERN: None, SPLITS[0]: 3}


@pytest.mark.parametrize(
    ("status", "about", "words"),
    [
        (3, 2, r"to set splitTime\.1\.2 to 20: badValue"),
        (17, 1, r"to set splitTime\.1\.1 to 20: notWritable"),
        (5, 0, r"to set splitTime\.1\.1, splitTime\.1\.2, splitTime\.1\.3 and 13 more: genErr"),
        (99, 17, r"and 13 more: status 99"),
    ],
)
def test_a_refusal_names_the_object_and_the_reason(status: int, about: int, words: str) -> None:
    with pytest.raises(ControllerRefused, match=words):
        talk(
            echo(0, status=status, about=about),
            lambda client: client.set([(oid, 20) for oid in SPLITS]),
        )


def test_a_host_that_has_no_address_is_unreachable() -> None:
    async def ask() -> None:
        async with client_of("no-such-host.invalid", 161, Community("x")):
            pass

    with pytest.raises(ControllerUnreachable, match=r"no-such-host\.invalid:161"):
        asyncio.run(ask())


def test_credentials_show_no_secret() -> None:
    shown = repr(Community("secret", "secret")) + repr(User("engineer", "secret-a", "secret-p"))
    assert "secret" not in shown
    assert "engineer" in shown


@pytest.mark.parametrize("phrases", [("short", PRIV_KEY), (AUTH_KEY, "")])
def test_short_pass_phrases_are_none(phrases: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="user engineer: SNMPv3 wants pass phrases of 8 characters or more"):
        User("engineer", *phrases)


# --------------------------------------------------------------------------------------------------- version 3


@pytest.fixture(scope="module")
def snmpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("snmpd")
    with snmpd_agent(folder, unit_values()) as port:
        yield port


def of_snmpd(port: int, user: User, what: Callable[[SnmpClient], Awaitable[object]]) -> object:
    """What comes of a conversation with snmpd over SNMPv3."""

    async def run() -> object:
        async with client_of("127.0.0.1", port, user, timeout_s=0.5, retries=1) as client:
            return await what(client)

    return asyncio.run(run())


ENGINEER = User("engineer", AUTH_KEY, PRIV_KEY)


@pytest.mark.parametrize(
    "user", [ENGINEER, User("elder", AUTH_KEY, PRIV_KEY, "SHA")], ids=lambda user: user.auth
)
def test_snmpv3_reads_and_writes(snmpd: int, user: User) -> None:
    rows = [OBJECTS["sequenceData"].oid(7, ring) for ring in (1, 2)]
    action = OBJECTS["dayPlanActionNumberOID"].oid(2, 1)
    cycle = 90 if user is ENGINEER else 91
    told: dict[Oid, Value] = {PATTERN: cycle, rows[0]: b"\x02\x01\x00\xff", rows[1]: b"AB", action: PHASES}

    async def both(client: SnmpClient) -> object:
        await client.set(list(told.items()))
        return await client.get([*told, OBJECTS["dbCreateTransaction"].oid(), OBJECTS["globalTime"].oid()])

    assert of_snmpd(snmpd, user, both) == told | {
        OBJECTS["dbCreateTransaction"].oid(): None,
        OBJECTS["globalTime"].oid(): 1_000_000,
    }


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (User("engineer", "a-wrong-pass-phrase", PRIV_KEY), "Wrong SNMP PDU digest"),
        (User("engineer", AUTH_KEY, PRIV_KEY, "SHA"), "Wrong SNMP PDU digest"),
        (User("stranger", AUTH_KEY, PRIV_KEY), "Unknown USM user"),
        (User("engineer", AUTH_KEY, "a-wrong-pass-phrase"), "does it know the user with these pass phrases"),
    ],
    ids=["wrong authentication", "wrong digest", "unknown user", "wrong privacy"],
)
def test_snmpv3_says_what_is_wrong_with_the_credentials(snmpd: int, user: User, words: str) -> None:
    with pytest.raises(ControllerUnreachable, match=words):
        of_snmpd(snmpd, user, lambda client: client.get([PHASES]))


def test_a_user_who_may_only_read_is_refused(snmpd: int) -> None:
    visitor = User("visitor", AUTH_KEY, PRIV_KEY)
    assert of_snmpd(snmpd, visitor, lambda client: client.get([PHASES])) == {PHASES: 16}
    with pytest.raises(ControllerRefused, match=rf"{name_of(SPLITS[0])} to 20: noAccess"):
        of_snmpd(snmpd, visitor, lambda client: client.set([(SPLITS[0], 20)]))


def test_snmpv3_names_the_object_that_is_refused(snmpd: int) -> None:
    with pytest.raises(ControllerRefused, match=r"splitTime\.1\.2 to 300: wrongValue"):
        of_snmpd(snmpd, ENGINEER, lambda client: client.set([(SPLITS[0], 20), (SPLITS[1], 300)]))


def test_an_integer_that_snmpv3_cannot_carry_is_refused(snmpd: int) -> None:
    dates = OBJECTS["timeBaseScheduleDate"].oid(1)
    with pytest.raises(
        ControllerRefused, match=r"timeBaseScheduleDate\.1 can't be 4294967294: .*; nothing was sent"
    ):
        of_snmpd(snmpd, ENGINEER, lambda client: client.set([(PATTERN, 33), (dates, 2**32 - 2)]))
    assert of_snmpd(snmpd, ENGINEER, lambda client: client.get([PATTERN])) != {PATTERN: 33}


def test_many_clients_share_an_engine(snmpd: int) -> None:
    async def run() -> list:
        engines = V3Engines()
        try:
            found = []
            for user in (ENGINEER, User("elder", AUTH_KEY, PRIV_KEY, "SHA"), ENGINEER):
                async with client_of("127.0.0.1", snmpd, user, engines=engines) as client:
                    found += (await client.get([PHASES])).values()
            return found
        finally:
            engines.close()

    assert asyncio.run(run()) == [16, 16, 16]


def test_a_silent_agent_is_unreachable_over_snmpv3() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(ControllerUnreachable, match="No SNMP response received before timeout"):
            of_snmpd(silent.getsockname()[1], ENGINEER, lambda client: client.get([PHASES]))


class Noise(asyncio.DatagramProtocol):
    """Answers everything with what is no answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple) -> None:
        for noise in (
            b"",
            b"\x30",
            data,
            data[:-3],
            data[:20] + b"\xa5" * 40,
            b"\x30\x80" + data,
            bytes(60000),
        ):
            self.transport.sendto(noise, addr)  # type: ignore[attr-defined]


def test_noise_from_one_unit_does_no_harm_to_another_on_the_same_engine(snmpd: int) -> None:
    async def run() -> list:
        noisy, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Noise, local_addr=("127.0.0.1", 0)
        )
        port, engines = noisy.get_extra_info("sockname")[1], V3Engines()
        try:
            async with (
                client_of("127.0.0.1", port, ENGINEER, engines=engines, timeout_s=0.3, retries=1) as bad,
                client_of("127.0.0.1", snmpd, ENGINEER, engines=engines) as good,
            ):
                return await asyncio.gather(bad.get([PHASES]), good.get([PHASES]), return_exceptions=True)
        finally:
            engines.close()
            noisy.close()

    bad, good = asyncio.run(run())
    assert isinstance(bad, ControllerUnreachable)
    assert good == {PHASES: 16}
