"""How Alembic reaches the database: by the connection that `Store` hands over."""

from typing import Any, Literal

from alembic import context

from signals.store.tables import Table, UtcTime


def _written(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    # A migration must not change when our own types do.
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
    render_item=_written,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
