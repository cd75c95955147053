"""`oaas check`: looks at settings and servers, and for each thing that is wrong names the one command that mends it. Changes nothing."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import asyncpg
from aio_pika.exceptions import AMQPError
from rich.console import Console
from rich.text import Text

from contracts.addresses import queues
from infra.broker import close, open_broker
from infra.database import role_url
from infra.errors import Misconfigured, in_words
from infra.rls.lint import CouldNotLook, lint_servers
from infra.schema import ROLES
from infra.services import MODULES
from infra.settings import Settings
from infra.topology import topology

_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend` is the command that puts it right; empty when it is."""

    check: str
    ok: bool
    detail: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def show(self, console: Console) -> None:
        sign = ("ok   ", "green") if self.ok else ("wrong", "red")
        mend = ("  →  ", (self.mend, "bold")) if self.mend else ()
        # Commands are typed off the screen: they must not be broken.
        console.print(Text.assemble(sign, f" {self.check:<10} {self.detail}", *mend), soft_wrap=True)


async def check(names: Sequence[str], settings: Settings) -> list[Finding]:
    """Run these checks, or all; raises LookupError for a name that is none."""
    for name in names:
        if name not in _CHECKS:
            raise LookupError(f"there is no check {name!r}; there are {', '.join(_CHECKS)}")
    return [finding for name in names or _CHECKS async for finding in _looked_at(name, settings)]


async def _looked_at(name: str, settings: Settings) -> AsyncIterator[Finding]:
    try:
        async for finding in _CHECKS[name](settings):
            yield finding
    except Misconfigured as error:
        yield Finding(name, False, str(error), "oaas up")


async def _settings(settings: Settings) -> AsyncIterator[Finding]:
    for name in ("postgres_url", "rabbitmq_url", "rabbitmq_management_url", "role_secret", "jwks"):
        value = getattr(settings, name)
        is_set = bool(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
        variable = f"OAAS_{name.upper()}"
        yield Finding("settings", is_set, f"{variable} is {'set' if is_set else 'not set'}", "" if is_set else "oaas up")


async def _postgres(settings: Settings) -> AsyncIterator[Finding]:
    for service in MODULES:
        for role in ROLES:
            try:
                problem = await _cannot_log_in(settings, service, role)
            except (OSError, TimeoutError) as error:
                yield Finding("postgres", False, f"PostgreSQL at OAAS_POSTGRES_URL does not answer: {in_words(error)}", "oaas up")
                return
            detail = f"role {service}_{role} can log in" if problem is None else f"role {service}_{role} cannot log in: {problem}"
            yield Finding("postgres", problem is None, detail, "" if problem is None else "oaas migrate")


async def _schemas(settings: Settings) -> AsyncIterator[Finding]:
    for service in MODULES:
        try:
            tables = await _fetch(settings, service, "SELECT tablename FROM pg_tables WHERE schemaname = $1", service)
        except (OSError, TimeoutError, asyncpg.PostgresError, Misconfigured) as error:
            yield Finding("schemas", False, f"schema {service} cannot be looked at: {in_words(error)}", "oaas check postgres")
            continue
        yield Finding("schemas", bool(tables), f"schema {service} has {len(tables)} tables", "" if tables else "oaas migrate")


async def _rls(settings: Settings) -> AsyncIterator[Finding]:
    try:
        report = await lint_servers(settings, list(MODULES))
    except CouldNotLook as error:
        yield Finding("rls", False, str(error), "oaas check postgres")
        return
    for found in report.findings:
        yield Finding("rls", False, f"{found.where}: {found.wrong}", found.mend)
    if not report.findings:
        yield Finding("rls", True, f"tenants are kept apart in {report.tables} tables; `oaas check rls --rules` says what is looked for")


async def _rabbitmq(settings: Settings) -> AsyncIterator[Finding]:
    broker = open_broker(settings)
    try:
        await broker.connect()
    except (OSError, TimeoutError, AMQPError) as error:
        yield Finding("rabbitmq", False, f"RabbitMQ does not answer: {in_words(error)}", "oaas up")
    else:
        yield Finding("rabbitmq", True, "RabbitMQ answers")
    finally:
        await close(broker)


async def _topology(settings: Settings) -> AsyncIterator[Finding]:
    try:
        wrong = await topology.mismatches(settings)
    except Misconfigured as error:
        yield Finding("topology", False, str(error), "oaas check settings")
        return
    for one in wrong:
        yield Finding("topology", False, str(one), one.mend)
    if not wrong:
        count = len(queues(settings.shards))
        yield Finding("topology", True, f"all {count} queues obey their policies, all exchanges and bindings are there")


async def _cannot_log_in(settings: Settings, service: str, role: str) -> str | None:
    url = role_url(settings, service, role).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = await asyncpg.connect(url, timeout=_TIMEOUT_S)
    except asyncpg.InvalidPasswordError:
        return "never migrated, or OAAS_ROLE_SECRET is not the one of the last `oaas migrate`"
    except asyncpg.PostgresError as error:
        return str(error) or type(error).__name__
    await connection.close()
    return None


async def _fetch(settings: Settings, service: str, query: str, *arguments: object) -> list[str]:
    url = role_url(settings, service, "app").set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url, timeout=_TIMEOUT_S)
    try:
        return [row[0] for row in await connection.fetch(query, *arguments)]
    finally:
        await connection.close()


_CHECKS: Final[Mapping[str, Callable[[Settings], AsyncIterator[Finding]]]] = {
    "settings": _settings,
    "postgres": _postgres,
    "schemas": _schemas,
    "rls": _rls,
    "rabbitmq": _rabbitmq,
    "topology": _topology,
}
