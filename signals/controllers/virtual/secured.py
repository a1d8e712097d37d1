"""SNMP version 3 for a virtual unit: pysnmp's engine for the security, our own answers and access.

pysnmp would let a user without a write view write everything, and gives a wrong error index; so its access control and
its MIB aren't used. Who may do what is decided from the name and security level that the engine has authenticated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pyasn1.type import univ
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c
from pysnmp.proto.rfc3411 import READ_CLASS_PDUS, WRITE_CLASS_PDUS

from signals.controllers.virtual import messages
from signals.controllers.virtual.messages import Answer, Bound, ErrorStatus, Request, fitted

_AUTH_PRIV = 3
_OVERHEAD = 200
"""Octets of a version 3 message around its varbinds, at most."""
_KINDS = {
    rfc1905.GetRequestPDU.tagSet: messages.GET,
    rfc1905.GetNextRequestPDU.tagSet: messages.GET_NEXT,
    rfc1905.SetRequestPDU.tagSet: messages.SET,
    rfc1905.GetBulkRequestPDU.tagSet: messages.GET_BULK,
}
_TYPES: dict[int, Any] = {
    messages.INTEGER: rfc1902.Integer32,
    messages.OCTETS: rfc1902.OctetString,
    messages.OID: univ.ObjectIdentifier,
    messages.COUNTER: rfc1902.Counter32,
    messages.GAUGE: rfc1902.Gauge32,
}
_EXCEPTIONS: dict[int, Any] = {
    messages.NULL: univ.Null(""),
    messages.NO_OBJECT: rfc1905.noSuchObject,
    messages.NO_INSTANCE: rfc1905.noSuchInstance,
    messages.END_OF_VIEW: rfc1905.endOfMibView,
}


class AuthProtocol(StrEnum):
    """How messages are authenticated; they are encrypted by AES-128."""

    SHA = "SHA"
    SHA256 = "SHA-256"


_AUTH = {
    AuthProtocol.SHA: config.USM_AUTH_HMAC96_SHA,
    AuthProtocol.SHA256: config.USM_AUTH_HMAC192_SHA256,
}


@dataclass(frozen=True, slots=True)
class User:
    """A user of SNMP version 3, with authentication and privacy. Passphrases have 8 characters or more."""

    name: str
    auth_key: str = field(repr=False)
    priv_key: str = field(repr=False)
    writes: bool = False
    auth: AuthProtocol = AuthProtocol.SHA256

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 32 or min(len(self.auth_key), len(self.priv_key)) < 8:
            raise ValueError(f"user {self.name!r}: a name of 1 to 32 and passphrases of 8 or more characters")


Responder = Callable[[Request, str, bool], Answer | None]
"""Called with a request, who asks, and whether they may write; None where there's to be no answer."""


class SecuredEngine:
    """A pysnmp engine of one unit. Making one takes 0.1 s and a megabyte: made when its first message comes."""

    def __init__(
        self, engine_id: bytes, boots: int, users: Sequence[User], respond: Responder, most: int
    ) -> None:
        self._sent: bytes | None = None
        self._engine = SnmpEngine(maxMessageSize=most)
        # not by the constructor, which would keep boots in a file for each id under /tmp
        (own_id, own_boots) = self._engine.get_mib_builder().import_symbols(
            "__SNMP-FRAMEWORK-MIB", "snmpEngineID", "snmpEngineBoots"
        )
        own_id.syntax = own_id.syntax.clone(engine_id)
        own_boots.syntax = own_boots.syntax.clone(boots)
        self._engine.snmpEngineID = own_id.syntax
        self._engine.transport_dispatcher = self
        for user in users:
            master, privacy = _master_keys(user)
            config.add_v3_user(
                self._engine,
                user.name,
                _AUTH[user.auth],
                master,
                config.USM_PRIV_CFB128_AES,
                privacy,
                authKeyType=config.USM_KEY_TYPE_MASTER,
                privKeyType=config.USM_KEY_TYPE_MASTER,
            )
        self._application = _Application({user.name: user.writes for user in users}, respond, most)
        for kinds in (READ_CLASS_PDUS, WRITE_CLASS_PDUS):
            self._engine.message_dispatcher.register_context_engine_id(
                own_id.syntax, kinds, self._application
            )

    def receive(self, data: bytes) -> bytes | None:
        """The message that answers one; None where there is no answer."""
        self._sent = None
        self._application.swallowed = self._application.responding = False
        self._let_caches_expire()
        try:
            self._engine.message_dispatcher.receive_message(
                self._engine, config.SNMP_UDP_DOMAIN, ("127.0.0.1", 0), data
            )
        except Exception:
            # pysnmp raises ValueError, TypeError, AttributeError, … at octets made to annoy it
            if self._application.responding:
                raise  # not the sender's doing but ours
            return None
        return None if self._application.swallowed else self._sent

    def send_message(self, message: bytes, _domain: object, _address: object) -> None:
        """Called by the engine, for which this is the transport."""
        self._sent = bytes(message)

    def get_timer_resolution(self) -> float:
        """Called by the engine: the length of a tick of its caches [s], if a message came each second."""
        return 1.0

    def _let_caches_expire(self) -> None:
        """A tick a message: what the engine keeps for 300 ticks is so kept within bounds."""
        engine = self._engine
        parts = (*engine.message_processing_subsystems.values(), *engine.security_models.values())
        for part in (engine.message_dispatcher, *parts):
            part.receive_timer_tick(engine, 0)


@lru_cache(maxsize=64)
def _master_keys(user: User) -> tuple[bytes, bytes]:
    """Keys before they are localised; a megabyte is hashed for each, the same for every unit."""
    service = config.AUTH_SERVICES[_AUTH[user.auth]]
    privacy = config.PRIV_SERVICES[config.USM_PRIV_CFB128_AES]
    return (
        bytes(service.hash_passphrase(user.auth_key.encode())),
        bytes(privacy.hash_passphrase(_AUTH[user.auth], user.priv_key.encode())),
    )


class _Application:
    """What the engine calls with an authenticated request, and what it is told to return."""

    def __init__(self, writes: dict[str, bool], respond: Responder, most: int) -> None:
        self._writes = writes
        self._respond = respond
        self._most = most
        self.swallowed = self.responding = False

    def __call__(
        self,
        engine: SnmpEngine,
        processing_model: int,
        security_model: int,
        security_name: Any,
        security_level: int,
        context_engine: Any,
        context: Any,
        pdu_version: int,
        pdu: Any,
        largest: Any,
        reference: Any,
    ) -> None:
        name = str(security_name)
        request = _request_of(pdu)
        answer: Answer | None = Answer(request.bounds, ErrorStatus.authorizationError, 1)
        if security_level == _AUTH_PRIV and name in self._writes:
            self.responding = True
            answer = self._respond(request, name, self._writes[name])
            self.responding = False
        # the engine forgets a request when it has been answered: an answer that is to be lost is lost after that
        self.swallowed = answer is None
        answer = answer or Answer(())
        most = min(self._most, int(largest) + _OVERHEAD) - _OVERHEAD
        answer, _ = fitted(b"", request, answer, most)
        response = v2c.apiPDU.get_response(pdu)
        v2c.apiPDU.set_error_status(response, int(answer.status))
        v2c.apiPDU.set_error_index(response, answer.index)
        v2c.apiPDU.set_varbinds(response, [_pysnmp_bound(bound) for bound in answer.bounds])
        engine.message_dispatcher.return_response_pdu(
            engine,
            processing_model,
            security_model,
            security_name,
            security_level,
            context_engine,
            context,
            pdu_version,
            response,
            largest,
            reference,
            {},
        )


def _request_of(pdu: Any) -> Request:
    kind = _KINDS[pdu.tagSet]
    bounds = tuple(_bound_of(tuple(oid), value) for oid, value in v2c.apiPDU.get_varbinds(pdu))
    number = int(v2c.apiPDU.get_request_id(pdu))
    if kind != messages.GET_BULK:
        return Request(kind, number, bounds)
    first, second = v2c.apiBulkPDU.get_non_repeaters(pdu), v2c.apiBulkPDU.get_max_repetitions(pdu)
    return Request(kind, number, bounds, int(first), int(second))


def _bound_of(oid: tuple[int, ...], value: Any) -> Bound:
    tag = value.tagSet[0]
    number = tag.tagClass | tag.tagId
    if isinstance(value, univ.Null):
        return Bound(oid)
    if isinstance(value, univ.ObjectIdentifier):
        return Bound(oid, number, tuple(value))
    return Bound(oid, number, int(value) if isinstance(value, univ.Integer) else bytes(value))


def _pysnmp_bound(bound: Bound) -> tuple[tuple[int, ...], Any]:
    if bound.tag in _EXCEPTIONS:
        return bound.oid, _EXCEPTIONS[bound.tag]
    made = _TYPES.get(bound.tag, rfc1902.OctetString)
    return bound.oid, made(bound.value)
