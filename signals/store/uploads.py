"""The files of a network, as they were uploaded."""

from __future__ import annotations

from pathlib import Path

from signals.formats.sumo.bundle import Bundle, unpack_bundle
from signals.store.session import Store
from signals.store.tables import RoadNetwork, Upload


def unpack_upload(store: Store, network_id: int, folder: Path) -> Bundle:
    """A network's files in a folder, checked.

    Raises
    ------
    InputError
        Where they aren't what they should be.
    """
    with store.reading() as session:
        upload = session.get_one(Upload, session.get_one(RoadNetwork, network_id).upload_sha256)
        content = upload.content
    return unpack_bundle(content, folder)
