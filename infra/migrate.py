"""Brings each service's schema up to date, as administrator, and gives its roles their passwords.

Each service keeps its own migrations and its own version table. The first one creates roles and schema and then works
as the schema's owner; later ones begin as the owner. `row_security = off` makes a statement that row-level security
would silently filter raise instead: a back-fill that touches nothing and a foreign key that accepts orphans.
"""

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from infra.database import asyncpg_url, role_password
from infra.errors import Misconfigured
from infra.schema import ROLES


def migrate(service: str, package: str, url: str, secret: SecretStr, say: Callable[[str], None]) -> None:
    """Upgrade the schema `service`, whose migrations lie in `package`, to its newest revision. Safe to run again."""
    try:
        asyncio.run(_migrate(service, package, url, secret))
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


async def _migrate(service: str, package: str, url: str, secret: SecretStr) -> None:
    engine = create_async_engine(asyncpg_url(url))
    try:
        async with engine.connect() as connection:
            # Two deployments may migrate at once; the second waits here and finds nothing left to do.
            await connection.execute(text("SELECT pg_advisory_lock(hashtext('oaas.migrate'))"))
            await connection.execute(text("SET row_security = off"))
            await connection.commit()
            await connection.run_sync(_upgrade, package)
            await connection.commit()
            for role in ROLES:
                password = role_password(secret, f"{service}_{role}")
                await connection.execute(text(f"ALTER ROLE {service}_{role} PASSWORD '{password}'"))
            await connection.commit()
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, package: str) -> None:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise LookupError(f"no migrations package {package}")
    config = Config()
    config.set_main_option("script_location", str(Path(next(iter(found.submodule_search_locations)))))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
