"""The file of credentials: what it may say, and who may read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from signals.controllers.credentials import credentials_of, read_credentials
from signals.controllers.snmp import Community, User
from signals.errors import InputError

GOOD = """
[street]
community = "reads"
write = "writes"

[north]
user = "greensplit"
auth_key = "authpass-1"
priv_key = "privpass-1"
auth = "SHA"
"""


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    """A file of credentials with these rights."""
    path = folder / "credentials.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_sections_are_communities_and_users(tmp_path: Path) -> None:
    known = read_credentials(written(tmp_path, GOOD))
    assert known["street"] == Community("reads", "writes")
    assert known["north"] == User("greensplit", "authpass-1", "privpass-1", "SHA")
    assert credentials_of(known, "street") is known["street"]
    with pytest.raises(InputError, match=r"no section \[south\]; it has street, north"):
        credentials_of(known, "south")


def test_secrets_arent_shown(tmp_path: Path) -> None:
    shown = repr(read_credentials(written(tmp_path, GOOD)))
    for secret in ("reads", "writes", "authpass-1", "privpass-1"):
        assert secret not in shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InputError, match="others may read it; chmod 600"):
        read_credentials(written(tmp_path, GOOD, mode))


def test_no_file_is_told_apart_from_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set GREENSPLIT_SNMP_CREDENTIALS"):
        read_credentials(None)
    with pytest.raises(InputError, match="can't be read as credentials"):
        read_credentials(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="can't be read as credentials"):
        read_credentials(written(tmp_path, "[street\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\n", "has nothing"),
        ('[a]\ncommunity = "x"\nuser = "y"\n', "has community, user"),
        ("[a]\ncommunity = 7\n", "a section of texts"),
        ('a = "b"\n', "a section of texts"),
        ('[a]\nuser = "u"\nauth_key = "12345678"\npriv_key = "short"\n', "at least 8 letters"),
        ('[a]\nuser = "u"\nauth_key = "12345678"\npriv_key = "12345678"\nauth = "MD5"\n', "auth 'MD5'"),
    ],
)
def test_what_isnt_as_it_should_be_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_credentials(written(tmp_path, text))
