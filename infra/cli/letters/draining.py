"""`oaas dead-letters drain` and `load`: for when the desk's database is down. They speak to the broker alone.

Exit codes: 0 done; 1 some letters could not be loaded, or somebody else takes them; 2 it could not run as asked.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from infra.cli.plainly import ERRORS, JSON, OUT, Stopped, plainly, print_json

T = TypeVar("T")

drain_app: Final = typer.Typer(rich_markup_mode="markdown")
_PANEL: Final = "When the database is down"
_PROGRESS_AFTER_S: Final = 1.0
_DRAIN_HELP: Final = """Save the broker's dead letters in a file, while the desk cannot take them in because its database is down.

Each letter is on the disk before the broker forgets it. The file only grows, and is yours alone to read (mode 600). Kill it and run it
again as you like. Stop the worker `ops` first: it holds letters that nobody else gets. Put them back with `oaas dead-letters load FILE`.

Example: `oaas dead-letters drain --to letters.ndjson`"""
_LOAD_HELP: Final = """Put drained letters back into the broker's dead-letter queues, from where the desk takes them in.

It remembers in `FILE.loaded` how far it has got, so run it again as you like; a letter that is there already is not taken in twice. Lines
that are no letters are named by their number; mend them in the file and run it again.

Example: `oaas dead-letters load letters.ndjson`"""


@drain_app.command(help=_DRAIN_HELP, rich_help_panel=_PANEL)
@plainly
def drain(
    to: Annotated[Path, typer.Option(help="the file; letters are added to what is in it", show_default=False)],
    queue: Annotated[list[str] | None, typer.Option(help="only of this queue, such as inventory.commands.0; may be repeated")] = None,
    force: Annotated[bool, typer.Option("--force", help="even while the desk's worker takes letters")] = False,
    json_: Annotated[bool, JSON] = False,
) -> None:
    from contracts.addresses import dead_letter_queue, is_work_queue, work_queues
    from infra.cli.counting import Counting
    from infra.cli.drain.drain import drain as run
    from infra.cli.drain.drawing import draw_drainage
    from infra.settings import settings_here

    origins = [name.removesuffix(".dead") for name in queue or ()]
    unknown = [name for name in origins if not is_work_queue(name)]
    if unknown:
        raise ValueError(f"--queue must be one of {', '.join(work_queues())}; {unknown[0]!r} is none")
    queues = [dead_letter_queue(name) for name in origins]
    with Counting(ERRORS, "drain", _PROGRESS_AFTER_S) as counting:
        told = run(settings_here(), queues, to, force=force, told=lambda so_far: counting.told(so_far.total, sum(so_far.there.values())))
        drainage = _until_interrupted(told, f"what was taken is safe in {to}, run it again for the rest")
    if json_:
        print_json({"taken": drainage.taken, "total": drainage.total, "in_file": drainage.in_file, "left": drainage.left})
    else:
        draw_drainage(OUT, drainage, to)


@drain_app.command(help=_LOAD_HELP, rich_help_panel=_PANEL)
@plainly
def load(
    file: Annotated[Path, typer.Argument(help="what `drain` has written")],
    again: Annotated[bool, typer.Option("--again", help="from the beginning, whatever was loaded already")] = False,
    json_: Annotated[bool, JSON] = False,
) -> None:
    from infra.cli.counting import Counting
    from infra.cli.drain.drawing import draw_loading
    from infra.cli.drain.load import load as run
    from infra.settings import settings_here

    with Counting(ERRORS, "load", _PROGRESS_AFTER_S) as counting:
        told = run(settings_here(), file, again=again, told=lambda so_far: counting.told(so_far.looked_at, so_far.total))
        loading = _until_interrupted(told, f"it remembers how far it got, run it again for the rest of {file}")
    if json_:
        print_json({"sent": loading.sent, "bad": loading.bad})
    else:
        draw_loading(OUT, loading, file)
    if loading.bad:
        raise typer.Exit(1)


def _until_interrupted(work: Coroutine[Any, Any, T], otherwise: str) -> T:
    """What comes of it; raises Stopped saying what that means after Ctrl-C."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise Stopped(otherwise) from None
