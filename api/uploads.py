"""Bodies that are files: taken to disk as they come, unpacked and measured on the way, gone afterwards."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

from fastapi import Depends, Header, Request
from starlette.requests import ClientDisconnect

from api.deps import CallerDep, Once, SettingsDep, fingerprint_of, media_type_of
from api.problems import TooLarge, UnsupportedMediaType
from signals.errors import InputError, StoreUnavailable

SUFFIX = ".part"
UNPACKED_PARTS = 1 << 20
"""Bytes that are unpacked at once, so that a bomb is noticed early."""


@dataclass(frozen=True)
class Uploaded:
    """A body on disk: where, what kind, its SHA-256 as unpacked, and a way to answer it only once."""

    path: Path
    media_type: str
    sha256: str
    size: int
    once: Once


def uploaded(*media_types: str) -> Callable[..., AsyncIterator[Uploaded]]:
    """A dependency that takes a body of one of these media types, gzipped or not, to disk."""

    async def take(
        request: Request,
        caller: CallerDep,
        settings: SettingsDep,
        content_encoding: Annotated[
            str | None, Header(pattern="^(gzip|identity)$", description="gzip where the body is packed.")
        ] = None,
        idempotency_key: Annotated[
            str | None, Header(pattern=r"^[!-~]{1,200}$", examples=["c0ffee-1"])
        ] = None,
    ) -> AsyncIterator[Uploaded]:
        media_type = media_type_of(request)
        if media_type not in media_types:
            raise UnsupportedMediaType(f"{media_type or 'no Content-Type'}: send {' or '.join(media_types)}")
        limit = request.scope["state"]["body_limit"] = settings.upload_limit_mb << 20
        with _scratch(settings.data / "uploads") as file:
            digest, size = hashlib.sha256(), 0
            async for part in _parts(request, content_encoding == "gzip"):
                size += len(part)
                if size > limit:
                    raise TooLarge(
                        f"the body, unpacked, is above {settings.upload_limit_mb} MiB; send it in parts"
                    )
                digest.update(part)
                _write(file, part)
            if not size:
                raise InputError("the body is empty")
            sha256 = digest.hexdigest()
            once = Once(caller, idempotency_key, fingerprint_of(request, sha256.encode()))
            yield Uploaded(Path(file.name), media_type, sha256, size, once)

    return take


def upload_body(examples: Mapping[str, str]) -> dict[str, object]:
    """How such a body stands in the API's document (`openapi_extra`): an example for each media type."""
    content = {
        media_type: {"schema": {"type": "string", "format": "binary"}, "example": example}
        for media_type, example in examples.items()
    }
    return {"requestBody": {"required": True, "content": content}}


@contextmanager
def _scratch(folder: Path) -> Iterator[IO[bytes]]:
    """A file for a body, gone afterwards.

    Raises
    ------
    StoreUnavailable
        Where there is no room for one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = tempfile.NamedTemporaryFile(dir=folder, suffix=SUFFIX, buffering=0)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise StoreUnavailable(f"no file can be made in {folder}: {error}") from error
    with made as file:
        yield file


def _write(file: IO[bytes], part: bytes) -> None:
    """Put a part of a body on disk, all of it.

    Raises
    ------
    StoreUnavailable
        Where there is no room for it.
    """
    rest = memoryview(part)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise StoreUnavailable(f"a body can't be kept: {error}") from error


async def _parts(request: Request, packed: bool) -> AsyncIterator[bytes]:
    unpack = zlib.decompressobj(wbits=31) if packed else None
    try:
        async for part in request.stream():
            if unpack is None:
                yield part
                continue
            while part:
                yield unpack.decompress(part, UNPACKED_PARTS)
                part = unpack.unconsumed_tail
            if unpack.eof and unpack.unused_data:
                raise InputError("the body goes on after the end of its gzip stream")
    except ClientDisconnect:
        raise InputError("the connection ended before the body did; nothing was kept") from None
    except zlib.error as error:
        raise InputError(f"the body is no whole gzip stream: {error}; nothing was kept") from None
    if unpack is not None and not unpack.eof:
        raise InputError("the gzip stream ends in the middle; nothing was kept")


NETWORK_TYPES = {
    "application/zip": "PK\x03\x04 … main.sumocfg, main.net.xml, main.rou.xml",
    "application/xml": '<net version="1.20"> … </net>',
    "application/gzip": "\x1f\x8b … main.net.xml",
}
"""The media types of networks, with what such a body looks like."""
NetworkUpload = Annotated[Uploaded, Depends(uploaded(*NETWORK_TYPES))]
COUNT_TYPES = {
    "text/csv": (
        "time,series,count\n"
        "2026-11-25T07:15:00+01:00,north-through,42\n"
        "2026-11-25T07:30:00+01:00,north-through,45\n"
    ),
    "application/vnd.apache.parquet": "PAR1 … time, series, count … PAR1",
    "application/x-ndjson": (
        '{"series": "north-through", "time": "2026-11-25T07:15:00+01:00", "count": 42}\n'
        '{"series": "north-through", "time": "2026-11-25T07:30:00+01:00", "count": 45}\n'
    ),
}
"""The media types of counts, with what such a body looks like."""
CountUpload = Annotated[Uploaded, Depends(uploaded(*COUNT_TYPES))]
