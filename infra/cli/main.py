"""`oaas`: everything a person types. Each command only reads its words and calls the module that does the work.

Exit codes: 0 done; 1 it ran and something is not as it should be; 2 it could not run as asked (words, settings, servers).
"""

import asyncio
import json
import sys
from typing import Annotated, Any, Final

import typer

from infra.cli.check import check_app
from infra.cli.letters.commands import letters_app
from infra.cli.plainly import JSON, OUT, Plain, Refused, plainly
from infra.cli.reconcile import reconcile_app
from infra.cli.saga import WHY_HELP, saga_app, why
from infra.cli.topology import topology_app
from infra.settings import Settings, settings_here

app: Final = typer.Typer(
    cls=Plain,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Operations as a service: orders that survive crashes.\n\nStart with `oaas demo`, or `oaas up` and then `oaas token --help`."
    "\n\nExit codes: 0 done; 1 it ran and something is not as it should be; 2 it could not run as asked.",
)
contracts_app: Final = typer.Typer(no_args_is_help=True, help="The messages on the wire.")
app.add_typer(contracts_app, name="contracts")
app.add_typer(check_app, name="check")
app.add_typer(saga_app, name="saga")
app.add_typer(topology_app, name="topology")
app.add_typer(reconcile_app, name="reconcile")
app.add_typer(letters_app, name="dead-letters")
app.command(help=WHY_HELP)(why)

_NAMES: Final = typer.Argument(help="tenants, inventory, orders, payments, sagas, ops; all of them if none is named", show_default=False)


@app.command()
@plainly
def up(json_: Annotated[bool, JSON] = False) -> None:
    """Start everything here, print where it is, and run until Ctrl-C.

    PostgreSQL and RabbitMQ are started under `.oaas/` unless OAAS_POSTGRES_URL or OAAS_RABBITMQ_URL name servers of yours.
    """
    from infra.dev.up import up as run

    run(Settings(), as_json=json_)


@app.command()
@plainly
def demo(
    json_: Annotated[bool, JSON] = False, orders: Annotated[int, typer.Option(min=0, help="how many mixed orders to play")] = 500
) -> None:
    """Play a story of orders that succeed, are refused and are compensated, and prove that nothing was lost.

    Starts everything, crashes some of it on purpose, counts stock and quota, and stops. Exit code 1 if anything is off.
    """
    from infra.dev.demo import demo as run

    raise typer.Exit(0 if run(Settings(), as_json=json_, orders=orders) else 1)


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@plainly
def bench(words: typer.Context) -> None:
    """Measure this checkout: sagas per second, CPU per saga, latency, alone or against other systems. `oaas bench --help` says how."""
    import subprocess

    from infra.dev.up import ROOT

    if not (ROOT / "tests" / "bench").is_dir():
        raise Refused("the benchmark is part of a checkout, not of an installed package: run it from a clone of the project")
    raise typer.Exit(subprocess.run([sys.executable, "-m", "tests.bench", *words.args], cwd=ROOT, check=False).returncode)


@app.command()
@plainly
def migrate(services: Annotated[list[str] | None, _NAMES] = None) -> None:
    """Bring the schemas, the queues and their policies up to date. Safe to run again.

    Needs OAAS_POSTGRES_URL as an administrator, OAAS_ROLE_SECRET, and RabbitMQ's management URL.
    """
    from infra import migrate as migrations
    from infra.services import MODULES, load, migrations_of
    from infra.settings import postgres_of
    from infra.topology import topology

    settings = Settings()
    names = [service.name for service in load(services or [])] if services else list(MODULES)
    for name in names:
        url, secret = postgres_of(settings, name)
        migrations.migrate(name, migrations_of(name), url, secret, lambda line: OUT.print(line, highlight=False))
    if settings.rabbitmq_management_url:
        _, left = asyncio.run(topology.apply(settings))
        if left:
            raise Refused("; ".join(f"{one}. Mend it: {one.mend}" for one in left))
        OUT.print("queues and their policies are up to date")


@app.command()
@plainly
def worker(services: Annotated[list[str] | None, _NAMES] = None) -> None:
    """Consume the work queues of these services until SIGTERM or Ctrl-C, then finish what has begun."""
    import uvloop

    from infra.services import load
    from infra.telemetry import configure
    from infra.worker import Worker

    settings = settings_here()
    loaded = load(services or [])
    configure("+".join(service.name for service in loaded), settings)
    uvloop.run(Worker(loaded, settings).run())


@app.command()
@plainly
def api(services: Annotated[list[str] | None, _NAMES] = None) -> None:
    """Serve the HTTP routes of these services on OAAS_API_HOST and OAAS_API_PORT."""
    import uvloop

    from infra.http.serve import serve
    from infra.services import load
    from infra.telemetry import configure

    settings = settings_here()
    configure("api", settings)
    uvloop.run(serve(load(services or []), settings))


@app.command()
@plainly
def token(
    scope: Annotated[
        str, typer.Option(help="what it may do: some of orders:read orders:write catalog:read catalog:write tenants:admin ops")
    ],
    tenant: Annotated[
        str | None, typer.Option(help="id of the tenant it speaks for; tenants:admin needs none, and ops without one sees all tenants")
    ] = None,
    ttl: Annotated[str, typer.Option(help="how long it is valid: 30s, 15m, 1h or 7d")] = "1h",
    subject: Annotated[str, typer.Option(help="who acts with it: histories and the operators' audit name them")] = "developer",
    json_: Annotated[bool, JSON] = False,
) -> None:
    """Issue a development token, signed with a key that is made on first use and never leaves `.oaas/`.

    Examples: `oaas token --tenant ID --scope "orders:read orders:write"`, `oaas token --scope ops --subject ada`
    """
    from infra.token import token as issue

    issued = issue(Settings(), tenant=tenant, scope=scope, ttl=ttl, subject=subject)
    sys.stdout.write((json.dumps(issued) if json_ else str(issued["token"])) + "\n")


@app.command()
@plainly
def settings(json_: Annotated[bool, JSON] = False) -> None:
    """List every setting: its environment variable, its value now (bold if it is not the default) and what it means.

    Secrets are hidden. Example: `oaas settings --json`
    """
    from infra.settings import describe

    described = describe(Settings())
    if json_:
        sys.stdout.write(json.dumps(described) + "\n")
    else:
        _print_settings(described)


@contracts_app.command()
@plainly
def asyncapi() -> None:
    """Print the AsyncAPI 3 document of every message, queue and exchange, as JSON, generated from the code.

    Example: `oaas contracts asyncapi > asyncapi.json`
    """
    from infra.asyncapi import document

    sys.stdout.write(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")


def _print_settings(described: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(title="settings", title_justify="left")
    table.add_column("variable", no_wrap=True, min_width=max(len(one["variable"]) for one in described))
    for column in ("value", "meaning"):
        table.add_column(column, overflow="fold")
    for one in described:
        value = str(one["value"])
        table.add_row(one["variable"], value if value == str(one["default"]) else f"[bold]{value}[/]", one["description"])
    OUT.print(table)


def main() -> None:
    """The console script."""
    app()
