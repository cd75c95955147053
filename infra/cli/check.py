"""`oaas check`: what is missing or misconfigured; and `oaas check rls`, which has words of its own."""

import asyncio
import json
import sys
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from infra.cli.check_rls import RLS_HELP, rls
from infra.cli.plainly import JSON, OUT, plainly
from infra.settings import settings_here

_RLS: Final = "rls"


class ByFirstWord(TyperGroup):
    """With `rls` as its first word it is that command; with any other, or none, these are names of checks."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        """See typer."""
        words = [word for word in args if not word.startswith("-")]
        if words[:1] == [_RLS]:
            first = [_RLS, *(word for number, word in enumerate(args) if number != args.index(_RLS))]
            return super().make_context(info_name, first, *more, **extra)
        return self.commands["check"].make_context(info_name, args, *more, **extra)


check_app: Final = typer.Typer(cls=ByFirstWord, help="Say what is missing or misconfigured. Changes nothing.")


@check_app.command()
@plainly
def check(
    what: Annotated[
        list[str] | None, typer.Argument(help="settings, postgres, schemas, rls, rabbitmq, topology; all if none is named")
    ] = None,
    json_: Annotated[bool, JSON] = False,
) -> None:
    """Say what is missing or misconfigured, and the one command that mends it. Exit code 1 if anything is. Changes nothing.

    `oaas check rls`, with `rls` first, says more about what keeps tenants apart in a database: see `oaas check rls --help`.

    Examples: `oaas check`, `oaas check topology`, `oaas check --json`
    """
    from infra.checks import check as run

    findings = asyncio.run(run(what or [], settings_here()))
    if json_:
        sys.stdout.write(json.dumps([finding.as_json() for finding in findings]) + "\n")
    else:
        for finding in findings:
            finding.show(OUT)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


check_app.command(name=_RLS, help=RLS_HELP)(rls)
