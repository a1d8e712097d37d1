"""Plans of nights"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "night_plans",
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("day_type", sa.String(length=20), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("signals", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_night_plans_network_id")),
        sa.ForeignKeyConstraint(["plan_hash"], ["plans.hash"], name=op.f("fk_night_plans_plan_hash")),
        sa.PrimaryKeyConstraint("plan_hash", name=op.f("pk_night_plans")),
    )
    op.create_index(op.f("ix_night_plans_network_id"), "night_plans", ["network_id", "night"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER night_plans_no_{verb.lower()} BEFORE {verb} ON night_plans "
                "BEGIN SELECT RAISE(ABORT, 'night_plans: rows are written once'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION night_plans_written_once() RETURNS trigger AS $$ "
        "BEGIN RAISE EXCEPTION 'night_plans: rows are written once'; END $$ LANGUAGE plpgsql"
    )
    op.execute(
        "CREATE TRIGGER night_plans_written_once BEFORE UPDATE OR DELETE ON night_plans "
        "FOR EACH ROW EXECUTE FUNCTION night_plans_written_once()"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("update", "delete"):
            op.execute(f"DROP TRIGGER night_plans_no_{verb}")
    else:
        op.execute("DROP TRIGGER night_plans_written_once ON night_plans")
        op.execute("DROP FUNCTION night_plans_written_once()")
    op.drop_table("night_plans")
