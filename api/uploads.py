"""Bodies that are files: taken to disk as they come, unpacked and measured on the way, gone afterwards."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Header, Request
from starlette.requests import ClientDisconnect

from api.deps import CallerDep, Once, SettingsDep
from api.problems import TooLarge, UnsupportedMediaType
from signals.errors import InputError

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
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in media_types:
            raise UnsupportedMediaType(f"{media_type or 'no Content-Type'}: send {' or '.join(media_types)}")
        limit = request.scope["state"]["body_limit"] = settings.upload_limit_mb << 20
        folder = settings.data / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=SUFFIX) as file:
            digest, size = hashlib.sha256(), 0
            async for part in _parts(request, content_encoding == "gzip"):
                size += len(part)
                if size > limit:
                    raise TooLarge(
                        f"the body, unpacked, is above {settings.upload_limit_mb} MiB; send it in parts"
                    )
                digest.update(part)
                file.write(part)
            if not size:
                raise InputError("the body is empty")
            file.flush()
            line = f"{request.method} {request.url.path}?{request.url.query}\n{digest.hexdigest()}"
            once = Once(caller, idempotency_key, hashlib.sha256(line.encode()).hexdigest())
            yield Uploaded(Path(file.name), media_type, digest.hexdigest(), size, once)

    return take


def upload_body(*media_types: str, example: str = "") -> dict[str, object]:
    """How such a body stands in the API's document (`openapi_extra`)."""
    content: dict[str, object] = {
        media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types
    }
    if example:
        content[media_types[0]] = {"schema": {"type": "string"}, "example": example}
    return {"requestBody": {"required": True, "content": content}}


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


NETWORK_TYPES = ("application/zip", "application/xml", "application/gzip")
NetworkUpload = Annotated[Uploaded, Depends(uploaded(*NETWORK_TYPES))]
COUNT_TYPES = ("text/csv", "application/vnd.apache.parquet", "application/x-ndjson")
CountUpload = Annotated[Uploaded, Depends(uploaded(*COUNT_TYPES))]
