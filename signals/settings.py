"""What an agency sets: by environment variables (`GREENSPLIT_…`) or the options of `greensplit serve`.

Only doors read settings; below them everything is an argument.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Positive = Annotated[int, Field(ge=1)]
Hours = Annotated[float, Field(gt=0, le=24 * 90)]


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(env_prefix="GREENSPLIT_", extra="ignore", frozen=True)

    data: Path = Field(Path("greensplit-data"), description="folder of the database and of workers' files")
    db: SecretStr | None = Field(
        None, description="database URL; SQLite in the data folder where none is given"
    )
    host: str = Field("127.0.0.1", description="address that the web process listens on")
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    scheduler: str | None = Field(
        None, description="address of a Dask scheduler; a cluster on this machine where none is given"
    )
    workers: Positive = Field(2, description="processes that work on jobs, where there is no scheduler")
    jobs_at_once: Positive = Field(1, description="simulations that one job runs at the same time")
    lease_s: Annotated[float, Field(ge=1, le=600)] = Field(
        15.0, description="how long a worker may be silent before its job is run again"
    )
    most_attempts: Positive = Field(3, description="how often a job is begun before it counts as failed")
    queue_limit: Positive = Field(200, description="jobs that may wait; more are answered with 429")
    two_person: bool = Field(True, description="whoever requested a plan can't approve it")
    rate_limit: str = Field("50/second;1000/minute", description="requests of one key; 429 above")
    upload_limit_mb: Positive = Field(256, description="largest body of networks and counts, packed and not")
    body_limit_kb: Positive = Field(1024, description="largest body of everything else")
    snmp_credentials: Path | None = Field(None, description="TOML file with the credentials of controllers")
    respond_h: Hours = Field(2.0, description="time to respond to an event, unless it says otherwise")
    feedback_h: Hours = Field(24.0, description="time to report back on an event")
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    @field_validator("data", "snmp_credentials")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().resolve() if value is not None else None

    @property
    def database_url(self) -> str:
        """Where the store is."""
        return self.db.get_secret_value() if self.db else f"sqlite:///{self.data / 'greensplit.db'}"
