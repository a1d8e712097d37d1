"""The audit holds: every way to tamper with it that leaves the head alone is found."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from signals.store.audit import FIRST, Actor, AuditBroken, record, verify
from signals.store.session import Store

HERE = Actor(None, "test")


def filled(store: Store, entries: int = 5) -> None:
    with store.writing() as session:
        for number in range(entries):
            record(session, HERE, "thing.do", f"things/{number}", area_id=1, figure=number)


def test_an_empty_chain_holds(store: Store) -> None:
    with store.reading() as session:
        assert verify(session) == (0, FIRST)


def test_a_whole_chain_holds_and_its_head_is_the_last_entry(store: Store) -> None:
    filled(store)
    with store.reading() as session:
        count, head = verify(session)
        last = session.execute(text("SELECT hash FROM audit ORDER BY id DESC LIMIT 1")).scalar_one()
    assert (count, head) == (5, last)


def test_what_is_undone_leaves_no_entry(store: Store) -> None:
    filled(store)

    def change_my_mind() -> None:
        with store.writing() as session:
            record(session, HERE, "thing.do", "things/9")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_my_mind()
    with store.reading() as session:
        assert verify(session)[0] == 5


@pytest.mark.parametrize("verb", ["UPDATE audit SET action = 'other'", "DELETE FROM audit"])
def test_the_database_refuses_to_change_entries(store: Store, verb: str) -> None:
    filled(store)
    with pytest.raises(DBAPIError, match="written once"), store.writing() as session:
        session.execute(text(f"{verb} WHERE id = 2"))


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("UPDATE audit SET subject = 'things/x' WHERE id = 3", "entry 3 was altered"),
        ("UPDATE audit SET details = '{\"figure\": 99}' WHERE id = 1", "entry 1 was altered"),
        ("UPDATE audit SET person_id = 7 WHERE id = 5", "entry 5 was altered"),
        ("DELETE FROM audit WHERE id = 2", "entry 2 is missing"),
        ("DELETE FROM audit WHERE id = 5", "the chain ends at entry 4, its head says 5"),
        ("UPDATE audit SET id = 9 WHERE id = 5", "entry 5 is missing"),
        ("UPDATE audit SET hash = previous WHERE id = 2", "entry 2 was altered"),
    ],
)
def test_tampering_is_found(store: Store, deed: str, message: str) -> None:
    filled(store)
    with store.writing() as session:
        # whoever owns the database can take the guard away; the chain tells of it all the same
        if store.is_sqlite:
            for name in ("audit_no_update", "audit_no_delete"):
                session.execute(text(f"DROP TRIGGER {name}"))
        else:
            session.execute(text("DROP TRIGGER audit_written_once ON audit"))
        session.execute(text(deed))
    with store.reading() as session, pytest.raises(AuditBroken, match=message):
        verify(session)
