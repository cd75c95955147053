"""How commands speak: results on standard output, mistakes as one clear line on standard error, never a traceback.

With `--json` that line is JSON as well, and standard output stays empty:

    {"error": {"kind": "mistake", "message": "--reason is missing: ...", "exit_code": 2}}
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, NoReturn, ParamSpec

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from infra.errors import Misconfigured, in_words

P = ParamSpec("P")

ERRORS: Final = Console(stderr=True)
OUT: Final = Console()
_JSON_FLAG: Final = "--json"
JSON: Final = typer.Option(
    _JSON_FLAG,
    help='print one JSON document and nothing else; an error is one on standard error: {"error": {"kind", "message", "exit_code"}}',
)
_STYLES: Final[Mapping[str, str]] = {"error": "red", "refused": "yellow", "stopped": "yellow"}


class Refused(Exception):
    """It was asked for as it should be, and the platform said no; the message says why."""


class Stopped(Exception):
    """Whoever typed it has ended it before it was done; the message says what that means."""


class Plain(TyperGroup):
    """Commands whose words, if they are wrong, are told like every other mistake: in one line, or as JSON."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """See typer; ends the process with the exit code."""
        words = sys.argv[1:] if args is None else args
        as_json = _JSON_FLAG in words
        try:
            code = super().main(args, *more, **{**options, "standalone_mode": False})
        except typer.Abort:
            _tell("stopped", "nothing more was done", 1, as_json=as_json)
            code = 1
        except typer.TyperException as error:
            # Without a message it has printed a help already.
            if said := error.format_message():
                _tell("error", _usage(error, said), error.exit_code, as_json=as_json)
            code = error.exit_code
        sys.exit(code or 0)


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document for a script, on one line."""
    sys.stdout.write(json.dumps(document) + "\n")


def counted(number: int, one: str) -> str:
    """`1 letter`, `12 480 letters`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}".replace(",", " ")


def plainly(command: Callable[P, None]) -> Callable[P, None]:
    """A user's mistake ends with one clear line and exit code 2; what the platform refuses with one and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **keywords: P.kwargs) -> None:
        as_json = bool(keywords.get("json_"))
        try:
            command(*args, **keywords)
        except BrokenPipeError:
            # Whoever reads it has enough (`| head`): typer ends quietly.
            raise
        except ValidationError as error:
            _end("error", "; ".join(_setting(problem) for problem in error.errors()), 2, as_json=as_json)
        except (Misconfigured, LookupError, ValueError, OSError) as error:
            _end("error", in_words(error), 2, as_json=as_json)
        except Refused as error:
            _end("refused", str(error), 1, as_json=as_json)
        except Stopped as error:
            _end("stopped", str(error), 1, as_json=as_json)

    return run


def _end(kind: str, message: str, code: int, *, as_json: bool) -> NoReturn:
    _tell(kind, message, code, as_json=as_json)
    raise typer.Exit(code)


def _tell(kind: str, message: str, code: int, *, as_json: bool) -> None:
    if as_json:
        told = {"error": {"kind": "mistake" if kind == "error" else kind, "message": message, "exit_code": code}}
        sys.stderr.write(json.dumps(told) + "\n")
    else:
        # Commands and paths are copied off the screen: they must not be broken.
        ERRORS.print(Text.assemble((f"{kind}: ", _STYLES[kind]), message), soft_wrap=True)


def _setting(problem: Mapping[str, Any]) -> str:
    """One of pydantic's errors about a setting."""
    said = str(problem["msg"]).removeprefix("Value error, ")
    return f"OAAS_{'_'.join(map(str, problem['loc'])).upper()}: {said}"


def _usage(error: typer.TyperException, said: str) -> str:
    """What is wrong with the words that were typed, by the flag or argument, and how to mend it."""
    word = getattr(error, "param", None)
    if word is None:
        return said[:1].lower() + said[1:]
    name = max(word.opts, key=len) if word.param_type_name == "option" else word.name.upper()
    if isinstance(error.__cause__, ValidationError):
        # The same words as the API's. Imported late: it takes a while.
        from infra.http.mishaps import field_error

        return f"{name} {field_error(error.__cause__.errors()[0])['message']}"
    return f"{name} {error.message}" if error.message else f"{name} is missing: {word.help}"
