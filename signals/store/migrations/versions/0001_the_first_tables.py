"""The first tables"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WRITTEN_ONCE = ("plans", "plan_documents", "audit", "approvals")


def upgrade() -> None:
    op.create_table(
        "areas",
        sa.Column("id", BIG, nullable=False),
        sa.Column("parent_id", BIG, nullable=True),
        sa.Column("path", sa.String(length=400), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("bounds", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("version", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["areas.id"], name=op.f("fk_areas_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_areas")),
        sa.UniqueConstraint("parent_id", "name", name=op.f("uq_areas_parent_id")),
        sa.UniqueConstraint("path", name=op.f("uq_areas_path")),
    )
    with op.batch_alter_table("areas", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_areas_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "audit",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("person_id", BIG, nullable=True),
        sa.Column("area_id", BIG, nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_subject"), ["subject"], unique=False)

    op.create_table(
        "audit_head",
        sa.Column("id", BIG, autoincrement=False, nullable=False),
        sa.Column("entries", BIG, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "people",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("contact", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("name", name=op.f("uq_people_name")),
    )
    op.create_table(
        "uploads",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_uploads")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", BIG, nullable=False),
        sa.Column("person_id", BIG, nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_api_keys_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_keys_person_id"), ["person_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_api_keys_prefix"), ["prefix"], unique=False)

    op.create_table(
        "duties",
        sa.Column("id", BIG, nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("person_id", BIG, nullable=False),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_duties_area_id")),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_duties_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_duties")),
        sa.UniqueConstraint("area_id", "person_id", name=op.f("uq_duties_area_id")),
    )
    with op.batch_alter_table("duties", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_duties_area_id"), ["area_id"], unique=False)

    op.create_table(
        "grants",
        sa.Column("id", BIG, nullable=False),
        sa.Column("person_id", BIG, nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_grants_area_id")),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_grants_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
        sa.UniqueConstraint("person_id", "area_id", "role", name=op.f("uq_grants_person_id")),
    )
    with op.batch_alter_table("grants", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_grants_person_id"), ["person_id"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", BIG, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("subject", sa.String(length=100), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("steps_done", BIG, nullable=False),
        sa.Column("steps_of", BIG, nullable=False),
        sa.Column("attempt", BIG, nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_asked", sa.Boolean(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_jobs_area_id")),
        sa.ForeignKeyConstraint(["created_by"], ["people.id"], name=op.f("fk_jobs_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_jobs_area_id"), ["area_id"], unique=False)
        batch_op.create_index("ix_jobs_state", ["state", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_subject"), ["subject"], unique=False)

    op.create_table(
        "networks",
        sa.Column("id", BIG, nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("timezone", sa.String(length=60), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("upload_sha256", sa.String(length=64), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.Column("created_by", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_networks_area_id")),
        sa.ForeignKeyConstraint(["created_by"], ["people.id"], name=op.f("fk_networks_created_by")),
        sa.ForeignKeyConstraint(
            ["upload_sha256"], ["uploads.sha256"], name=op.f("fk_networks_upload_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_networks")),
        sa.UniqueConstraint("area_id", "name", name=op.f("uq_networks_area_id")),
    )
    with op.batch_alter_table("networks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_networks_area_id"), ["area_id"], unique=False)

    op.create_table(
        "answered",
        sa.Column("api_key_id", BIG, nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_keys.id"], name=op.f("fk_answered_api_key_id")),
        sa.PrimaryKeyConstraint("api_key_id", "idempotency_key", name=op.f("pk_answered")),
    )
    with op.batch_alter_table("answered", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_answered_at"), ["at"], unique=False)

    op.create_table(
        "corridors",
        sa.Column("id", BIG, nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("signals", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_corridors_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corridors")),
        sa.UniqueConstraint("network_id", "name", name=op.f("uq_corridors_network_id")),
    )
    op.create_table(
        "count_batches",
        sa.Column("id", BIG, nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("person_id", BIG, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("streams", BIG, nullable=False),
        sa.Column("counts", BIG, nullable=False),
        sa.Column("new", BIG, nullable=False),
        sa.Column("corrected", BIG, nullable=False),
        sa.Column("late", BIG, nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("remarks", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_count_batches_network_id")),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_count_batches_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_count_batches")),
    )
    with op.batch_alter_table("count_batches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_count_batches_network_id"), ["network_id"], unique=False)

    op.create_table(
        "forecasts",
        sa.Column("id", BIG, nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("origin_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("step_min", sa.Integer(), nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("levels", sa.JSON(), nullable=False),
        sa.Column("inputs_sha256", sa.String(length=64), nullable=False),
        sa.Column("left_out", BIG, nullable=False),
        sa.Column("wape", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_forecasts_job_id")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_forecasts_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forecasts")),
        sa.UniqueConstraint("job_id", name=op.f("uq_forecasts_job_id")),
    )
    with op.batch_alter_table("forecasts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_forecasts_network_id"), ["network_id"], unique=False)

    op.create_table(
        "intersections",
        sa.Column("id", BIG, nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("signal", sa.String(length=300), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("x_m", sa.Double(), nullable=False),
        sa.Column("y_m", sa.Double(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_intersections_area_id")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_intersections_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intersections")),
        sa.UniqueConstraint("network_id", "signal", name=op.f("uq_intersections_network_id")),
    )
    with op.batch_alter_table("intersections", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_intersections_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_intersections_network_id"), ["network_id"], unique=False)

    op.create_table(
        "plans",
        sa.Column("id", BIG, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("digest", sa.String(length=16), nullable=False),
        sa.Column("keeps_plan_in_place", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_plans_area_id")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_plans_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
        sa.UniqueConstraint("hash", name=op.f("uq_plans_hash")),
    )
    with op.batch_alter_table("plans", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_plans_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_plans_network_id"), ["network_id"], unique=False)

    op.create_table(
        "screenings",
        sa.Column("id", BIG, nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("series", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_screenings_job_id")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_screenings_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screenings")),
        sa.UniqueConstraint("job_id", name=op.f("uq_screenings_job_id")),
    )
    with op.batch_alter_table("screenings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_screenings_network_id"), ["network_id"], unique=False)

    op.create_table(
        "streams",
        sa.Column("id", BIG, nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("step_min", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_streams_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_streams")),
        sa.UniqueConstraint("network_id", "name", name=op.f("uq_streams_network_id")),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", BIG, nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("against_hash", sa.String(length=64), nullable=True),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("seeds", sa.JSON(), nullable=False),
        sa.Column("verdict", sa.String(length=40), nullable=True),
        sa.Column("figures", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["against_hash"], ["plans.hash"], name=op.f("fk_comparisons_against_hash")),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_comparisons_area_id")),
        sa.ForeignKeyConstraint(["created_by"], ["people.id"], name=op.f("fk_comparisons_created_by")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_comparisons_job_id")),
        sa.ForeignKeyConstraint(["plan_hash"], ["plans.hash"], name=op.f("fk_comparisons_plan_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
        sa.UniqueConstraint("job_id", name=op.f("uq_comparisons_job_id")),
    )
    with op.batch_alter_table("comparisons", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_comparisons_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_comparisons_plan_hash"), ["plan_hash"], unique=False)

    op.create_table(
        "count_days",
        sa.Column("stream_id", BIG, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("slots", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], name=op.f("fk_count_days_stream_id")),
        sa.PrimaryKeyConstraint("stream_id", "day", name=op.f("pk_count_days")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "detectors",
        sa.Column("id", BIG, nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("intersection_id", BIG, nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("lane", sa.String(length=300), nullable=False),
        sa.Column("position_m", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["intersection_id"], ["intersections.id"], name=op.f("fk_detectors_intersection_id")
        ),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_detectors_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detectors")),
        sa.UniqueConstraint("network_id", "name", name=op.f("uq_detectors_network_id")),
    )
    with op.batch_alter_table("detectors", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_detectors_intersection_id"), ["intersection_id"], unique=False)

    op.create_table(
        "early_warnings",
        sa.Column("id", BIG, nullable=False),
        sa.Column("forecast_id", BIG, nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("intersection_id", BIG, nullable=False),
        sa.Column("begins_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_early_warnings_area_id")),
        sa.ForeignKeyConstraint(
            ["forecast_id"], ["forecasts.id"], name=op.f("fk_early_warnings_forecast_id")
        ),
        sa.ForeignKeyConstraint(
            ["intersection_id"], ["intersections.id"], name=op.f("fk_early_warnings_intersection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_early_warnings")),
    )
    with op.batch_alter_table("early_warnings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_early_warnings_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_early_warnings_forecast_id"), ["forecast_id"], unique=False)

    op.create_table(
        "events",
        sa.Column("id", BIG, nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("intersection_id", BIG, nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("severity", sa.String(length=20), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("assignee_id", BIG, nullable=True),
        sa.Column("reported_by", BIG, nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("respond_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("feedback_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("responded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalations", BIG, nullable=False),
        sa.Column("version", BIG, nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_events_area_id")),
        sa.ForeignKeyConstraint(["assignee_id"], ["people.id"], name=op.f("fk_events_assignee_id")),
        sa.ForeignKeyConstraint(
            ["intersection_id"], ["intersections.id"], name=op.f("fk_events_intersection_id")
        ),
        sa.ForeignKeyConstraint(["reported_by"], ["people.id"], name=op.f("fk_events_reported_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_events_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_events_assignee_id"), ["assignee_id"], unique=False)

    op.create_table(
        "forecast_series",
        sa.Column("forecast_id", BIG, nullable=False),
        sa.Column("stream_id", BIG, nullable=False),
        sa.Column("values", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["forecast_id"], ["forecasts.id"], name=op.f("fk_forecast_series_forecast_id")
        ),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], name=op.f("fk_forecast_series_stream_id")),
        sa.PrimaryKeyConstraint("forecast_id", "stream_id", name=op.f("pk_forecast_series")),
    )
    op.create_table(
        "plan_documents",
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("media_type", sa.String(length=60), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["plan_hash"], ["plans.hash"], name=op.f("fk_plan_documents_plan_hash")),
        sa.PrimaryKeyConstraint("plan_hash", "kind", "name", name=op.f("pk_plan_documents")),
    )
    op.create_table(
        "plan_requests",
        sa.Column("id", BIG, nullable=False),
        sa.Column("network_id", BIG, nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("job_id", BIG, nullable=False),
        sa.Column("terms", sa.JSON(), nullable=False),
        sa.Column("signals", sa.JSON(), nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=True),
        sa.Column("created_by", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_plan_requests_area_id")),
        sa.ForeignKeyConstraint(["created_by"], ["people.id"], name=op.f("fk_plan_requests_created_by")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_plan_requests_job_id")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_plan_requests_network_id")),
        sa.ForeignKeyConstraint(["plan_hash"], ["plans.hash"], name=op.f("fk_plan_requests_plan_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_requests")),
        sa.UniqueConstraint("job_id", name=op.f("uq_plan_requests_job_id")),
    )
    with op.batch_alter_table("plan_requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_plan_requests_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_plan_requests_network_id"), ["network_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_plan_requests_plan_hash"), ["plan_hash"], unique=False)

    op.create_table(
        "approvals",
        sa.Column("id", BIG, nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("area_id", BIG, nullable=False),
        sa.Column("comparison_id", BIG, nullable=True),
        sa.Column("decision", sa.String(length=20), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("person_id", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_approvals_area_id")),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name=op.f("fk_approvals_comparison_id")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_approvals_person_id")),
        sa.ForeignKeyConstraint(["plan_hash"], ["plans.hash"], name=op.f("fk_approvals_plan_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_approvals_area_id"), ["area_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_approvals_plan_hash"), ["plan_hash"], unique=False)

    op.create_table(
        "event_entries",
        sa.Column("id", BIG, nullable=False),
        sa.Column("event_id", BIG, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("person_id", BIG, nullable=True),
        sa.Column("step", sa.String(length=20), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_event_entries_event_id")),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_event_entries_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_entries")),
    )
    with op.batch_alter_table("event_entries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_entries_event_id"), ["event_id"], unique=False)
    # The whole city is the area that all others lie in; the audit begins empty.
    op.execute(
        "INSERT INTO areas (id, parent_id, path, name, version, created_at) "
        "VALUES (1, NULL, '/1/', 'city', 1, CURRENT_TIMESTAMP)"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT setval(pg_get_serial_sequence('areas', 'id'), 1)")
    op.execute(f"INSERT INTO audit_head (id, entries, hash) VALUES (1, 0, '{'0' * 64}')")
    for table in WRITTEN_ONCE:
        _forbid_changes(table)


def downgrade() -> None:
    for table in WRITTEN_ONCE:
        _allow_changes(table)
    with op.batch_alter_table("event_entries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_event_entries_event_id"))

    op.drop_table("event_entries")
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_approvals_plan_hash"))
        batch_op.drop_index(batch_op.f("ix_approvals_area_id"))

    op.drop_table("approvals")
    with op.batch_alter_table("plan_requests", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_plan_requests_plan_hash"))
        batch_op.drop_index(batch_op.f("ix_plan_requests_network_id"))
        batch_op.drop_index(batch_op.f("ix_plan_requests_area_id"))

    op.drop_table("plan_requests")
    op.drop_table("plan_documents")
    op.drop_table("forecast_series")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_events_assignee_id"))
        batch_op.drop_index(batch_op.f("ix_events_area_id"))

    op.drop_table("events")
    with op.batch_alter_table("early_warnings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_early_warnings_forecast_id"))
        batch_op.drop_index(batch_op.f("ix_early_warnings_area_id"))

    op.drop_table("early_warnings")
    with op.batch_alter_table("detectors", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_detectors_intersection_id"))

    op.drop_table("detectors")
    op.drop_table("count_days")
    with op.batch_alter_table("comparisons", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_comparisons_plan_hash"))
        batch_op.drop_index(batch_op.f("ix_comparisons_area_id"))

    op.drop_table("comparisons")
    op.drop_table("streams")
    with op.batch_alter_table("screenings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_screenings_network_id"))

    op.drop_table("screenings")
    with op.batch_alter_table("plans", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_plans_network_id"))
        batch_op.drop_index(batch_op.f("ix_plans_area_id"))

    op.drop_table("plans")
    with op.batch_alter_table("intersections", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_intersections_network_id"))
        batch_op.drop_index(batch_op.f("ix_intersections_area_id"))

    op.drop_table("intersections")
    with op.batch_alter_table("forecasts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_forecasts_network_id"))

    op.drop_table("forecasts")
    with op.batch_alter_table("count_batches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_count_batches_network_id"))

    op.drop_table("count_batches")
    op.drop_table("corridors")
    with op.batch_alter_table("answered", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_answered_at"))

    op.drop_table("answered")
    with op.batch_alter_table("networks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_networks_area_id"))

    op.drop_table("networks")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_subject"))
        batch_op.drop_index("ix_jobs_state")
        batch_op.drop_index(batch_op.f("ix_jobs_area_id"))

    op.drop_table("jobs")
    with op.batch_alter_table("grants", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_grants_person_id"))

    op.drop_table("grants")
    with op.batch_alter_table("duties", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_duties_area_id"))

    op.drop_table("duties")
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_keys_prefix"))
        batch_op.drop_index(batch_op.f("ix_api_keys_person_id"))

    op.drop_table("api_keys")
    op.drop_table("uploads")
    op.drop_table("people")
    op.drop_table("audit_head")
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_subject"))
        batch_op.drop_index(batch_op.f("ix_audit_area_id"))

    op.drop_table("audit")
    with op.batch_alter_table("areas", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_areas_parent_id"))

    op.drop_table("areas")


def _forbid_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table}: rows are written once'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_written_once() RETURNS trigger AS $$ "
        f"BEGIN RAISE EXCEPTION '{table}: rows are written once'; END $$ LANGUAGE plpgsql"
    )
    op.execute(
        f"CREATE TRIGGER {table}_written_once BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_written_once()"
    )


def _allow_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("update", "delete"):
            op.execute(f"DROP TRIGGER {table}_no_{verb}")
        return
    op.execute(f"DROP TRIGGER {table}_written_once ON {table}")
    op.execute(f"DROP FUNCTION {table}_written_once()")
