"""Every setting, its unit, bound and default. The environment sets them: `OAAS_` and the name in capitals.

`oaas settings` prints this list. A service on a server of its own reads `OAAS_<SERVICE>_POSTGRES_URL` and
`OAAS_<SERVICE>_ROLE_SECRET` instead of the common ones.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.addresses import RETRY_AFTER_MS, RETRY_LANES, SHARDS, SHARDS_MAX

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
_RUNGS_S: Final = [wait_ms * max(RETRY_LANES) / 1000 for wait_ms in RETRY_AFTER_MS]
"""The longest wait on each rung of the retry ladder, seconds."""


class Settings(BaseSettings):
    """Read once at the start of a process; raises pydantic.ValidationError naming each wrong setting."""

    model_config = SettingsConfigDict(env_prefix="OAAS_", extra="ignore", frozen=True)

    home: Path = Field(Path(".oaas"), description="folder of the embedded servers, keys and logs")

    postgres_url: str = Field("", description="PostgreSQL; an administrator's URL for `oaas migrate`, host and database for services")
    postgres_socket: str = Field("", description="folder of that PostgreSQL's Unix socket, for services on its machine; empty: by TCP")
    rabbitmq_url: str = Field("", description="RabbitMQ, amqp://user:password@host:port/vhost?heartbeat=10")
    rabbitmq_management_url: str = Field("", description="RabbitMQ's management API, http://user:password@host:port")
    role_secret: SecretStr = Field(SecretStr(""), description="the passwords of all database roles are derived from it")

    jwks: str = Field("", description="key set that verifies tokens: a file, inline JSON or an http(s) URL")
    issuer: str = Field("https://oaas.localhost/dev", description="`iss` that tokens must carry")
    audience: str = Field("oaas", description="`aud` that tokens must carry")

    api_host: str = Field("127.0.0.1", description="address that `oaas api` listens on")
    api_port: int = Field(8000, ge=1, le=65535, description="port that `oaas api` listens on")
    api_url: str = Field("", description="where operators' commands find the API; empty for the API of this home")
    token: SecretStr = Field(
        SecretStr(""), description="token of operators' commands, with the scope ops; empty for one of this home's key"
    )
    metrics_host: str = Field("127.0.0.1", description="address that a worker serves `/metrics` on")
    metrics_port: int = Field(0, ge=0, le=65535, description="port that a worker serves `/metrics` on, one per process; 0: it serves none")
    body_bytes_max: Count = Field(1_048_576, description="largest request body, bytes")
    wait_max_s: Seconds = Field(30, description="longest `Prefer: wait` that is granted, seconds")
    commit_requests_max: Count = Field(100, description="most requests at one process that share a commit")
    backlog_s: Seconds = Field(
        5, description="work at the speed of late, in seconds, above which new orders are refused with 503; less than the sagas' deadlines"
    )
    backlog_min: Count = Field(500, description="orders under way that are always taken in, however slow it went of late")
    backlog_max: Count = Field(5_000, description="orders under way above which new ones are refused, however fast it went of late")
    backlog_tenant_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.25, description="part of what may be under way that one tenant may take up; above it its orders are refused with 429"
    )
    projection_patience_s: Annotated[float, Field(ge=0)] = Field(
        1.0, description="how long an unknown SKU or shop is looked for again before 422, seconds"
    )

    shards: int = Field(
        SHARDS, ge=1, le=SHARDS_MAX, description="shards that tenants' messages are spread over, the same for all processes of a platform"
    )
    consumes: str = Field(
        "",
        description="shards that a worker reads, such as 0,2-3 or 4- (from there on); empty: all there are. Together workers must read all",
    )

    pool_connections: Count = Field(6, description="database connections of one service in one process")
    statement_timeout_s: Seconds = Field(30, description="longest single statement, seconds")
    connect_timeout_s: Seconds = Field(5, description="longest wait for a database or broker connection, seconds")

    batch_envelopes_max: Count = Field(1000, description="most envelopes that a consumer takes into one transaction")
    prefetch_frames: Count = Field(100, description="frames that the broker hands to one consumer ahead of its acks")
    retries_max: Count = Field(
        8,
        description="waits on the retry ladder of what fails in passing, before it is parked; a command that expires soon waits until then",
    )
    conflicts_max: Count = Field(5, description="tries at once of a batch that conflicts with somebody else's transaction")
    breaks_max: Count = Field(
        3, description="times that a batch may break its connection while the database is there, before it is bisected"
    )
    backoff_s: Seconds = Field(0.1, description="first pause before a look for a lost database or broker, seconds; doubles each time")
    outage_backoff_max_s: Seconds = Field(1, description="longest pause between two looks for a lost database or broker, seconds")
    deaths_max: Count = Field(3, description="processes that one envelope may kill before it is parked untried")

    frame_envelopes_max: Count = Field(1000, description="most envelopes in one frame")
    frame_bytes_max: Count = Field(500_000, description="a frame is closed once its body is larger than this, bytes")
    publish_timeout_s: Seconds = Field(10, description="longest wait for the broker's confirm, seconds")
    unpublished_max: Count = Field(20_000, description="envelopes waiting for their confirm above which consuming pauses")
    resend_after_s: Seconds = Field(5, description="age at which a row still in the outbox is sent again, seconds; later ever less often")
    outbox_age_max_s: Seconds = Field(
        60, description="time without a word of the broker to a message above which a process is not ready, seconds"
    )
    drain_s: Seconds = Field(10, description="longest a process works on at shutdown to finish what it has begun, seconds")
    stop_max_s: Seconds = Field(28, description="time after being told to stop at which a process that hangs is cut, seconds")

    dead_letter_keep_days: Count = Field(30, description="how long the operators' desk may replay a letter after its death, days")
    inbox_keep_days: Count = Field(
        35,
        validate_default=True,
        description="how long a service knows which messages it has handled, days; more than OAAS_DEAD_LETTER_KEEP_DAYS",
    )
    idempotency_keep_days: Count = Field(30, description="how long an Idempotency-Key means the order that it was first sent with, days")
    retention_every_s: Seconds = Field(86_400, description="pause between two walks through the tables for rows that are too old, seconds")
    retention_pages: Count = Field(100, description="pages of a table (of 8 kB) that one statement of such a walk looks through")
    retention_pause_s: Seconds = Field(0.05, description="pause between two statements of such a walk, seconds")

    replay_plan_keep_s: Seconds = Field(3600, description="age above which the plan of a replay cannot be started any more, seconds")
    replay_letters_max: Count = Field(100_000, description="most letters in one replay")
    replay_on_the_way_max: Count = Field(
        200, description="most letters of one replay without an outcome; while there are, no more are sent"
    )
    replay_lease_s: Seconds = Field(
        5, description="time after which another worker takes a replay over from one that says nothing, seconds"
    )
    replay_resend_s: Seconds = Field(
        3600,
        validate_default=True,
        description="age at which a letter without an outcome is sent again if its queue is empty, seconds; more than the retry ladder",
    )
    report_within_s: Seconds = Field(2, description="longest wait of the operators' desk for what a service says about a letter, seconds")

    deadline_factor: Annotated[float, Field(gt=0, le=10)] = Field(1.0, description="multiplies every deadline of every saga")
    settle_max_s: Seconds = Field(10, description="longest that deadlines wait after an outage for replies already queued, seconds")

    payment_url: str = Field("", description="payment provider; while it is not set, payments wait")
    payment_secret: SecretStr = Field(
        SecretStr(""), description="signs the payment provider's callbacks; while it is not set, none is taken"
    )
    payment_timeout_s: Seconds = Field(5, description="longest wait for one answer of the payment provider, seconds")
    payment_tries_max: Count = Field(3, description="tries to find out at once what came of a call to the payment provider")
    payment_backoff_s: Seconds = Field(
        0.25, description="first pause before the payment provider is asked again, seconds; doubles each time"
    )
    payment_backoff_max_s: Seconds = Field(15, description="longest pause before the payment provider is asked again, seconds")
    payment_refused_backoff_max_s: Seconds = Field(
        300, description="longest pause before the payment provider is called again for a capture, void or refund it refuses, seconds"
    )
    payment_refusals_max: Count = Field(
        3, description="refusals of a capture, void or refund after which its saga is told, and waits parked"
    )
    payment_lease_s: Seconds = Field(20, description="age of a call above which another worker takes the payment over, seconds")
    payment_calls_max: Count = Field(32, description="payments that one process works on at the same time")

    reconcile_every_s: Seconds = Field(3600, description="pause between two comparisons of the services' books, seconds")
    reconcile_grace_s: Seconds = Field(120, description="only what has not moved for so long is compared, seconds")
    reconcile_back_s: Seconds = Field(2_592_000, description="orders at rest are compared again if they moved at most so long ago, seconds")
    reconcile_forgotten_s: Seconds = Field(
        2_592_000, description="age at which an order that holds stock and that nobody moves is told as forgotten, seconds"
    )

    trace_ratio: Annotated[float, Field(ge=0, le=1)] = Field(0.01, description="share of journeys that are traced, 0 to 1")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least severe log line that is written")

    crash_at: str = Field(
        "", description="kill this process at a named point, as <service>:<point>[:<kind>[:<which time>]]; for tests and demonstrations"
    )
    ready_file: Path | None = Field(None, description="file that a worker writes once it consumes; used by the supervisor")

    @field_validator("consumes")
    @classmethod
    def _names_shards(cls, words: str) -> str:
        if re.fullmatch(r"(\d+(-\d*)?(,\d+(-\d*)?)*)?", words) is None:
            raise ValueError(f"it is {words!r}, which names no shards: write 0 or 0-3 or 4-, several with commas between them")
        return words

    @field_validator("inbox_keep_days")
    @classmethod
    def _outlives_the_letters(cls, days: int, others: ValidationInfo) -> int:
        # A day more: that long a message may have been on its way, handled once and then dead on its second delivery.
        letters = others.data.get("dead_letter_keep_days", 0)
        if days <= letters:
            raise ValueError(
                f"it is {days} and OAAS_DEAD_LETTER_KEEP_DAYS is {letters}: it must be larger, by one at least. A service that has"
                " forgotten a message would apply its replayed letter twice"
            )
        return days

    @field_validator("replay_resend_s")
    @classmethod
    def _outlasts_the_ladder(cls, seconds: float, others: ValidationInfo) -> float:
        longest = sum(_RUNGS_S[min(rung, len(_RUNGS_S) - 1)] for rung in range(others.data.get("retries_max", 0)))
        if seconds <= longest:
            raise ValueError(
                f"it is {seconds:g} and must be more than {longest:g}: so long a letter that is sent again may be on the retry ladder,"
                " where it would be given up for lost"
            )
        return seconds


ENVIRONMENT: Final = "environment"
"""File in `home` in which a running `oaas up` leaves its settings, for commands beside it."""


def settings_here() -> Settings:
    """The environment's settings and, for what it does not set, those of the platform that `oaas up` runs in this home."""
    file = Settings().home / ENVIRONMENT
    return Settings(_env_file=file) if file.is_file() else Settings()


class _OwnServer(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    postgres_url: str = ""
    role_secret: SecretStr = SecretStr("")


def postgres_of(settings: Settings, service: str) -> tuple[str, SecretStr]:
    """URL and role secret of the server that holds the service's schema."""
    own = _OwnServer(_env_prefix=f"OAAS_{service.upper()}_")
    return own.postgres_url or settings.postgres_url, own.role_secret if own.role_secret.get_secret_value() else settings.role_secret


def postgres_socket_of(settings: Settings, service: str) -> str:
    """The folder of that server's Unix socket; empty if it is reached by TCP."""
    return "" if _OwnServer(_env_prefix=f"OAAS_{service.upper()}_").postgres_url else settings.postgres_socket


def describe(settings: Settings) -> list[dict[str, Any]]:
    """Every setting with its variable, value, default and meaning; secrets are masked, passwords in URLs too."""
    return [
        {
            "variable": f"OAAS_{name.upper()}",
            "value": _shown(getattr(settings, name)),
            "default": _shown(field.default),
            "description": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]


def _shown(value: object) -> str | int | float:
    if isinstance(value, int | float):
        return value
    return re.sub(r"(?<=://)([^:/@]*):[^@/]*@", r"\1:***@", "" if value is None else str(value))
