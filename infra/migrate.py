"""Brings each service's schema up to date, as administrator, and gives its roles their passwords.

Each service keeps its own migrations and its own version table. The first one creates roles and schema and then works
as the schema's owner; later ones begin as the owner. `row_security = off` makes a statement that row-level security
would silently filter raise instead: a back-fill that touches nothing and a foreign key that accepts orphans.
"""

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alembic import command, context
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from infra.database import asyncpg_url, role_password
from infra.errors import Misconfigured
from infra.schema import ROLES

_LOCK_MAX_S: Final = 3
_TRIES: Final = 5
_PAUSE_S: Final = 2
_LOCK_NOT_AVAILABLE: Final = "55P03"


def migrate(service: str, package: str, url: str, secret: SecretStr, say: Callable[[str], None]) -> None:
    """Upgrade the schema `service`, whose migrations lie in `package`, to its newest revision. Safe to run again."""
    try:
        asyncio.run(_migrate(service, package, url, secret, say))
    except (OSError, DBAPIError) as error:
        reason = str(error).split("\n", 1)[0]
        raise Misconfigured(f"schema {service} cannot be migrated: {reason}. Does OAAS_POSTGRES_URL name an administrator?") from error
    say(f"schema {service} is up to date")


def run_environment(service: str) -> None:
    """What a service's migrations/env.py does: run the migrations on the connection that `migrate` opened."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(
        connection=connection, version_table=f"{service}_version", version_table_schema="public", transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


async def _migrate(service: str, package: str, url: str, secret: SecretStr, say: Callable[[str], None]) -> None:
    engine = create_async_engine(asyncpg_url(url))
    try:
        async with engine.connect() as connection:
            # Two deployments may migrate at once; the second waits here and finds nothing left to do.
            await connection.execute(text("SELECT pg_advisory_lock(hashtext('oaas.migrate'))"))
            await connection.execute(text("SET row_security = off"))
            # Everybody queues behind a statement that waits for its lock: rather than stand in the way, it steps back and tries again.
            await connection.execute(text(f"SET lock_timeout = '{_LOCK_MAX_S}s'"))
            await connection.commit()
            await _upgrade_between_others(service, package, connection, say)
            for role in ROLES:
                password = role_password(secret, f"{service}_{role}")
                await connection.execute(text(f"ALTER ROLE {service}_{role} PASSWORD '{password}'"))
            await connection.commit()
    finally:
        await engine.dispose()


async def _upgrade_between_others(service: str, package: str, connection: AsyncConnection, say: Callable[[str], None]) -> None:
    """Upgrade; a migration that does not get its locks is tried again, a few times. Those before it stay done."""
    for left in reversed(range(_TRIES)):
        try:
            await connection.run_sync(_upgrade, package)
            await connection.commit()
        except DBAPIError as error:
            await connection.rollback()
            if not left or getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            say(f"schema {service}: somebody has held what the migration must lock for {_LOCK_MAX_S} s, it is tried {left} times more")
            await asyncio.sleep(_PAUSE_S)
        else:
            return


def _upgrade(connection: Connection, package: str) -> None:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise LookupError(f"no migrations package {package}")
    config = Config()
    config.set_main_option("script_location", str(Path(next(iter(found.submodule_search_locations)))))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
