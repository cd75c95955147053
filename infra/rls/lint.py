"""Looks at a database as it is, and tells which of the rules it breaks. Reads the catalog only, and changes nothing."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from infra.database import role_url
from infra.errors import Misconfigured, in_words
from infra.rls import on_keys, on_roles, on_tables
from infra.rls.catalog import Catalog, read_catalog
from infra.rls.deliberate import DELIBERATE
from infra.rls.findings import Finding, Rule
from infra.schema import ROLES
from infra.settings import Settings, postgres_of

RULES: Final[Sequence[Rule]] = (*on_tables.RULES, *on_keys.RULES, *on_roles.RULES)
_CONNECT_MAX_S: Final = 5.0
_STATEMENT_MAX_MS: Final = 5_000
_LOCK_MAX_MS: Final = 500
_READ_ONLY: Final = {
    "application_name": "oaas check rls",
    "default_transaction_read_only": "on",
    "statement_timeout": f"{_STATEMENT_MAX_MS}",
    "lock_timeout": f"{_LOCK_MAX_MS}",
    "search_path": "pg_catalog",
}


class CouldNotLook(Misconfigured):
    """Nobody knows whether the database is sound; the message says why, and what to do about it."""


@dataclass
class Report:
    """What was looked at, what is wrong, and what is meant to be as it is."""

    tables: int = 0
    policies: int = 0
    indexes: int = 0
    roles: int = 0
    findings: list[Finding] = field(default_factory=list)
    deliberate: list[Finding] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Take in what was found on another server."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_json(self) -> dict[str, Any]:
        return {
            "sound": not self.findings,
            "looked_at": {"tables": self.tables, "policies": self.policies, "indexes": self.indexes, "roles": self.roles},
            "findings": [finding.as_json() for finding in self.findings],
            "deliberate": [
                {"rule": finding.rule.id, "where": finding.where, "reason": DELIBERATE[finding.rule.id, finding.where]}
                for finding in self.deliberate
            ],
        }


async def lint(connection: asyncpg.Connection, services: Sequence[str]) -> Report:
    """What is wrong in these services' schemas, which this database has; raises CouldNotLook if it has not."""
    catalog = await read_catalog(connection, services)
    _require_whole(catalog)
    report = Report(len(catalog.tables), len(catalog.policies), len(catalog.indexes), len(catalog.roles))
    for finding in found_in(catalog):
        is_deliberate = (finding.rule.id, finding.where) in DELIBERATE
        (report.deliberate if is_deliberate else report.findings).append(finding)
    return report


def found_in(catalog: Catalog) -> Iterator[Finding]:
    """Every rule that is broken, whether that is meant or not."""
    return (Finding(rule, place) for rule in RULES for place in rule.find(catalog))


async def lint_servers(settings: Settings, services: Sequence[str], url: str = "") -> Report:
    """What is wrong on the services' own servers, seen as their app's role; or in the database at `url`, as whom it names."""
    report = Report()
    for address, there in _servers(settings, services, url).items():
        async with looking(address) as connection:
            report.add(await lint(connection, there))
    return report


def _servers(settings: Settings, services: Sequence[str], url: str) -> Mapping[str, list[str]]:
    if url:
        return {url: list(services)}
    by_server: dict[str, list[str]] = {}
    for service in services:
        by_server.setdefault(postgres_of(settings, service)[0], []).append(service)
    return {_as_app(settings, there[0]): there for there in by_server.values()}


def _as_app(settings: Settings, service: str) -> str:
    return role_url(settings, service, "app").render_as_string(hide_password=False)


@asynccontextmanager
async def looking(address: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that can only read and waits for nobody; raises CouldNotLook if there is none, or if it fails in between."""
    try:
        url = make_url(address).set(drivername="postgresql")
        connection = await asyncpg.connect(
            url.render_as_string(hide_password=False), timeout=_CONNECT_MAX_S, command_timeout=_CONNECT_MAX_S, server_settings=_READ_ONLY
        )
    except ArgumentError:
        raise CouldNotLook("--url is no URL like postgresql://user@host:5432/database") from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        whom = f"{url.username or 'the default user'} at {url.host or 'the default host'}"
        raise CouldNotLook(f"could not sign in to PostgreSQL as {whom}: {in_words(error)}; `oaas check postgres` says more") from error
    try:
        yield connection
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CouldNotLook(f"the catalog of {url.database} could not be read: {in_words(error)}. Try again in a moment") from error
    finally:
        await connection.close(timeout=_CONNECT_MAX_S)


def _require_whole(catalog: Catalog) -> None:
    """What is not there breaks no rule: that must not be told as sound."""
    roles = {role.name for role in catalog.roles}
    for service in catalog.services:
        if not any(table.schema == service for table in catalog.tables):
            raise CouldNotLook(f"there is no schema {service} with tables in this database: name the services it has, or `oaas migrate`")
        if missing := sorted({f"{service}_{role}" for role in ("owner", *ROLES)} - roles):
            raise CouldNotLook(f"there is no role {', '.join(missing)} on this server: run `oaas migrate`")
