"""One pool per service, role and process, and the URL and password that a role connects with."""

import hashlib
import hmac
import math
from typing import Final

from pydantic import SecretStr
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from infra.errors import Misconfigured
from infra.settings import Settings, postgres_of, postgres_socket_of

_POOL_WAIT_S: Final = 10.0
_SILENCE_S: Final = 10


def asyncpg_url(url: str) -> URL:
    """The URL for SQLAlchemy's asyncpg driver; raises Misconfigured if it is none."""
    if not url:
        raise Misconfigured("OAAS_POSTGRES_URL is not set: start everything with `oaas up`, or give the URL of your PostgreSQL")
    try:
        return make_url(url).set(drivername="postgresql+asyncpg")
    except ArgumentError:
        raise Misconfigured("OAAS_POSTGRES_URL is no URL like postgresql://host:5432/oaas") from None


def role_password(secret: SecretStr, role: str) -> str:
    """The role's password, derived from the secret; hexadecimal, so that it needs no quoting anywhere."""
    if not secret.get_secret_value():
        raise Misconfigured("OAAS_ROLE_SECRET is not set: any long random text, the same for `oaas migrate` and the services")
    return hmac.new(secret.get_secret_value().encode(), role.encode(), hashlib.sha256).hexdigest()


def role_url(settings: Settings, service: str, role: str) -> URL:
    """Where and as whom `service` connects in this role. The administrator's credentials in the setting are never used."""
    url, secret = postgres_of(settings, service)
    name = f"{service}_{role}"
    return asyncpg_url(url).set(username=name, password=role_password(secret, name))


def open_pool(settings: Settings, service: str, role: str, connections: int) -> AsyncEngine:
    """A pool of at most `connections`. A connection found broken is replaced at the next checkout that fails, not probed before."""
    url, name = role_url(settings, service, role), f"oaas {service} {role}"
    return create_async_engine(
        _by_libpq(url) if role == "app" else url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_S,
        pool_use_lifo=True,
        # The service's transactions are begun and ended by infra/transaction.py, in fewer round trips than the library would take; the
        # relay's are one statement each.
        **({"isolation_level": "AUTOCOMMIT"} if role in ("app", "relay") else {}),
        connect_args={
            **(_of_libpq(settings, name) if role == "app" else _of_asyncpg(settings, name)),
            # Both drivers take a folder for the socket in it.
            **({"host": socket} if (socket := postgres_socket_of(settings, service)) else {}),
        },
    )


def _of_asyncpg(settings: Settings, name: str) -> dict[str, object]:
    return {"timeout": settings.connect_timeout_s, "server_settings": {"application_name": name, **_limits(settings)}}


def _of_libpq(settings: Settings, name: str) -> dict[str, object]:
    # Planning a statement with arrays anew each time costs more than running it, and an index is right at every size.
    given = {"plan_cache_mode": "force_generic_plan", **_limits(settings)}
    options = " ".join(f"-c {key}={value}" for key, value in given.items())
    # A server whose machine is gone says nothing at all: after its longest statement and a little, nobody waits for it.
    silence_s = settings.statement_timeout_s + _SILENCE_S
    return {
        "connect_timeout": math.ceil(settings.connect_timeout_s),
        "application_name": name,
        "options": options,
        "keepalives_idle": _SILENCE_S,
        "keepalives_interval": _SILENCE_S,
        "keepalives_count": 3,
        "tcp_user_timeout": int(silence_s * 1000),
    }


def _limits(settings: Settings) -> dict[str, str]:
    longest = f"{int(settings.statement_timeout_s * 1000)}"
    return {"statement_timeout": longest, "idle_in_transaction_session_timeout": longest}


def _by_libpq(url: URL) -> URL:
    """The same server by psycopg, which has a pipeline mode; what asyncpg calls `ssl` is `sslmode` there."""
    query = {"sslmode" if key == "ssl" else key: value for key, value in url.query.items()}
    return url.set(drivername="postgresql+psycopg", query=query)
