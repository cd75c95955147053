"""`oaas check rls`: whether row-level security keeps tenants apart in the databases as they are."""

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.cli.plainly import JSON, OUT, counted, plainly, print_json
from infra.settings import settings_here

if TYPE_CHECKING:
    from infra.rls.lint import Report

RLS_HELP: Final = """Look in PostgreSQL's catalog for whatever would let one tenant meet another, and say what mends it. For production too.

It reads the catalog only, no row of anybody's, in short statements on a read-only session that waits half a second at most for a lock. It
signs in to each service's server as the service's own `app` role; with `--url` as whom that names, for which any login will do.

What it finds in our own schemas and is meant to be so is no finding: `--deliberate` lists it with its reasons. `--rules` lists what is
looked for, and why. The SQL under each finding mends it; send it as the owner or an administrator, after reading it.

Exit codes: 0 sound; 1 there are findings; 2 it could not look, so nobody knows.

Examples: `oaas check rls`, `oaas check rls orders sagas --json`, `oaas check rls --url postgresql://reader@db.example:5432/oaas`"""
_SERVICES: Final = typer.Argument(help="tenants, inventory, orders, payments, sagas, ops; all of them if none is named", show_default=False)


@plainly
def rls(
    services: Annotated[list[str] | None, _SERVICES] = None,
    url: Annotated[
        str, typer.Option(help="look into this database instead of where the services are; a password is best in PGPASSWORD or ~/.pgpass")
    ] = "",
    deliberate: Annotated[bool, typer.Option("--deliberate", help="also list what is meant to be as it is, with its reasons")] = False,
    rules: Annotated[bool, typer.Option("--rules", help="only list what is looked for, and why; looks at nothing")] = False,
    json_: Annotated[bool, JSON] = False,
) -> None:
    """See RLS_HELP."""
    from infra.rls.lint import RULES, lint_servers
    from infra.services import require_known

    if rules:
        listed = [{"rule": rule.id, "wrong": rule.wrong, "why": rule.why, "mend": rule.mend} for rule in RULES]
        print_json({"rules": listed}) if json_ else _draw_rules()
        return
    report = asyncio.run(lint_servers(settings_here(), require_known(services or []), url))
    if json_:
        print_json(report.as_json())
    else:
        _draw(OUT, report, with_deliberate=deliberate)
    raise typer.Exit(1 if report.findings else 0)


def _draw(console: Console, report: "Report", *, with_deliberate: bool) -> None:
    if with_deliberate:
        table = _table("meant to be so", "rule", "reason", "where")
        places: dict[tuple[str, str], list[str]] = {}
        for one in report.as_json()["deliberate"]:
            places.setdefault((one["rule"], one["reason"]), []).append(one["where"])
        for (rule, reason), where in places.items():
            table.add_row(rule, reason, "\n".join(where))
        console.print(table)
    if report.findings:
        table = _table("wrong", "rule", "where", "what is wrong")
        for finding in report.findings:
            table.add_row(Text(finding.rule.id, "red"), finding.where, finding.wrong)
        console.print(table)
    for rule, findings in groupby(report.findings, key=lambda finding: finding.rule):
        console.print(Text.assemble((f"{rule.id}: ", "bold"), rule.why), soft_wrap=True)
        for finding in findings:
            # SQL is copied off the screen: it must not be broken.
            console.print(Text(f"  {finding.mend}"), soft_wrap=True)
    looked_at = f"{counted(report.tables, 'table')} with {report.policies} policies and {report.indexes} indexes, {report.roles} roles"
    found = Text(counted(len(report.findings), "finding"), "red") if report.findings else Text("sound", "green")
    meant = "" if with_deliberate else " (--deliberate lists it)"
    console.print(Text.assemble(found, f": {looked_at}; {len(report.deliberate)} times something is meant to be so{meant}"), soft_wrap=True)


def _draw_rules() -> None:
    from infra.rls.lint import RULES

    table = _table("what is looked for", "rule", "wrong", "why")
    for rule in RULES:
        table.add_row(rule.id, rule.wrong, rule.why)
    OUT.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, overflow="fold")
    return table
