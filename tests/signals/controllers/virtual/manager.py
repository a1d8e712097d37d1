"""A manager for tests, which speaks by pyasn1's codec and so shares nothing with the agent's own."""

from __future__ import annotations

from typing import Any

from pyasn1.codec.ber import decoder, encoder
from pyasn1.type import univ
from pysnmp.proto import rfc1902
from pysnmp.proto.api import v2c

from signals.controllers.virtual import messages
from signals.controllers.virtual.agent import Agent
from signals.controllers.virtual.messages import Answer, Bound, ErrorStatus, Request

PDUS: dict[int, Any] = {
    messages.GET: v2c.GetRequestPDU,
    messages.GET_NEXT: v2c.GetNextRequestPDU,
    messages.SET: v2c.SetRequestPDU,
    messages.GET_BULK: v2c.GetBulkRequestPDU,
}
KINDS: dict[int, Any] = {
    messages.NULL: lambda _: univ.Null(""),
    messages.INTEGER: rfc1902.Integer32,
    messages.OCTETS: rfc1902.OctetString,
    messages.OID: univ.ObjectIdentifier,
    messages.COUNTER: rfc1902.Counter32,
    messages.GAUGE: rfc1902.Gauge32,
}


def encode_request(community: bytes, request: Request) -> bytes:
    """A message as pysnmp makes it."""
    pdu = PDUS[request.kind]()
    api = v2c.apiBulkPDU if request.kind == messages.GET_BULK else v2c.apiPDU
    api.set_defaults(pdu)
    api.set_request_id(pdu, request.request_id)
    if request.kind == messages.GET_BULK:
        api.set_non_repeaters(pdu, request.first)
        api.set_max_repetitions(pdu, request.second)
    api.set_varbinds(pdu, [(b.oid, KINDS[b.tag](b.value)) for b in request.bounds])
    message = v2c.Message()
    v2c.apiMessage.set_defaults(message)
    v2c.apiMessage.set_community(message, community)
    v2c.apiMessage.set_pdu(message, pdu)
    return bytes(encoder.encode(message))


def decode_answer(data: bytes) -> Answer:
    """What a response message says, as pysnmp reads it."""
    message, rest = decoder.decode(data, asn1Spec=v2c.Message())
    assert not rest
    pdu = v2c.apiMessage.get_pdu(message)
    status = ErrorStatus(int(v2c.apiPDU.get_error_status(pdu)))
    found = []
    for oid, value in v2c.apiPDU.get_varbinds(pdu):
        tag = value.tagSet[0].tagClass | value.tagSet[0].tagId
        plain: Any = None
        if isinstance(value, univ.ObjectIdentifier):
            plain = tuple(value)
        elif isinstance(value, univ.Integer):
            plain = int(value)
        elif isinstance(value, univ.OctetString) and not isinstance(value, univ.Null):
            plain = bytes(value)
        found.append(Bound(tuple(oid), tag, plain))
    return Answer(tuple(found), status, int(v2c.apiPDU.get_error_index(pdu, muteErrors=True)))


def error_of(data: bytes) -> tuple[ErrorStatus, int]:
    """Error status and index of a response message."""
    answer = decode_answer(data)
    return answer.status, answer.index


def ask(agent: Agent, community: bytes, request: Request) -> Answer:
    """The answer that an agent must give."""
    data = agent.answer(encode_request(community, request))
    assert data is not None
    return decode_answer(data)
