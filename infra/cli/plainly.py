"""How commands speak: results on standard output, mistakes as one clear line on standard error, never a traceback."""

import json
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, ParamSpec

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from infra.errors import Misconfigured

P = ParamSpec("P")

ERRORS: Final = Console(stderr=True)
OUT: Final = Console()
JSON: Final = typer.Option("--json", help="print one JSON document and nothing else")


class Refused(Exception):
    """It was asked for as it should be, and the platform said no; the message says why."""


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document for a script, on one line."""
    sys.stdout.write(json.dumps(document) + "\n")


def plainly(command: Callable[P, None]) -> Callable[P, None]:
    """A user's mistake ends with one clear line and exit code 2; what the platform refuses with one and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **keywords: P.kwargs) -> None:
        try:
            command(*args, **keywords)
        except ValidationError as error:
            for problem in error.errors():
                ERRORS.print(f"[red]error:[/] OAAS_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}")
            raise typer.Exit(2) from None
        except (Misconfigured, LookupError, ValueError, PermissionError, FileNotFoundError, NotADirectoryError) as error:
            ERRORS.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
            raise typer.Exit(2) from None
        except Refused as error:
            ERRORS.print(f"[yellow]refused:[/] {escape(str(error))}", highlight=False)
            raise typer.Exit(1) from None

    return run
