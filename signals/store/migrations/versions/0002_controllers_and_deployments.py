"""Controllers and deployments"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "controllers",
        sa.Column("id", BIG, nullable=False),
        sa.Column("intersection_id", BIG, nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("credentials", sa.String(length=60), nullable=False),
        sa.Column("clock", sa.String(length=20), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["intersection_id"], ["intersections.id"], name=op.f("fk_controllers_intersection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_controllers")),
        sa.UniqueConstraint("host", "port", name=op.f("uq_controllers_host")),
        sa.UniqueConstraint("intersection_id", name=op.f("uq_controllers_intersection_id")),
    )
    op.create_table(
        "deployments",
        sa.Column("id", BIG, nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("approval_id", BIG, nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("terms", sa.JSON(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("created_by", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name=op.f("fk_deployments_approval_id")),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_deployments_area_id")),
        sa.ForeignKeyConstraint(["created_by"], ["people.id"], name=op.f("fk_deployments_created_by")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_deployments_job_id")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_deployments_network_id")),
        sa.ForeignKeyConstraint(["plan_hash"], ["plans.hash"], name=op.f("fk_deployments_plan_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
    )
    with op.batch_alter_table("deployments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deployments_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_deployments_network_id"), ["network_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_deployments_plan_hash"), ["plan_hash"], unique=False)
        batch_op.create_index(batch_op.f("ix_deployments_state"), ["state"], unique=False)

    op.create_table(
        "deployment_steps",
        sa.Column("id", BIG, nullable=False),
        sa.Column("deployment_id", BIG, nullable=False),
        sa.Column("intersection_id", BIG, nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("slot", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("previous", sa.Integer(), nullable=False),
        sa.Column("pattern", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_deployment_steps_deployment_id")
        ),
        sa.ForeignKeyConstraint(
            ["intersection_id"], ["intersections.id"], name=op.f("fk_deployment_steps_intersection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment_steps")),
        sa.UniqueConstraint(
            "deployment_id", "intersection_id", name=op.f("uq_deployment_steps_deployment_id")
        ),
    )
    with op.batch_alter_table("deployment_steps", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_deployment_steps_deployment_id"), ["deployment_id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_deployment_steps_intersection_id"), ["intersection_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_deployment_steps_state"), ["state"], unique=False)


def downgrade() -> None:
    op.drop_table("deployment_steps")
    op.drop_table("deployments")
    op.drop_table("controllers")
