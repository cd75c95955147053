"""Flags that commands share, and how a command is given many of them at once: those that say which sagas or letters are meant."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from infra.cli.asking import WHY, require_reason

Reason = Annotated[str, typer.Option(help=WHY, show_default=False, callback=require_reason)]
Url = Annotated[str | None, typer.Option(help="where the API is; by default OAAS_API_URL, else the platform of this home")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask before acting")]

Command = Callable[..., None]


def flagged(flags: Mapping[str, Any], read: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[[Command], Command]:
    """A decorator: the command has these flags as well, by name, and is given what `read` makes of them as its first argument."""

    def with_flags(command: Command) -> Command:
        def run(**words: Any) -> None:
            said = {name: words.pop(name) for name in flags}
            command(read(said), **words)

        signature = inspect.signature(command)
        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in list(signature.parameters.values())[1:]]
        added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in flags.items()]
        run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]  # what typer reads the flags from
        run.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return with_flags
