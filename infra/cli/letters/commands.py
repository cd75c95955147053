"""`oaas dead-letters ...`: what operators type when messages have failed. Looking is here; acting is in the modules beside it.

Exit codes: 0 done; 1 something failed, was refused or left out, or is not there; 2 it could not run as asked.
"""

from typing import Annotated, Any, Final
from uuid import UUID

import typer

from infra.cli.flags import Url
from infra.cli.letters.acting import acting_app
from infra.cli.letters.draining import drain_app
from infra.cli.letters.filters import as_flags, as_query, filtered
from infra.cli.letters.mending import mending_app
from infra.cli.letters.replaying import replay_app
from infra.cli.plainly import JSON, OUT, plainly, print_json

letters_app: Final = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Messages that failed for good: find the causes, mend, send them again.\n\nStart with `oaas dead-letters groups`."
    "\n\nExit codes: 0 done; 1 something failed, was refused or left out, or is not there; 2 it could not run as asked.",
)
Json = Annotated[bool, JSON]
Limit = Annotated[int, typer.Option(min=1, max=200, help="how many at most")]
Cursor = Annotated[str | None, typer.Option(help="go on where the last page ended")]

_PANEL: Final = "Look"
_LIST_HELP: Final = """List dead letters, the newest first. Without --state those that are open: DEAD and REPLAYING.

Examples: `oaas dead-letters list --fingerprint 3fa9c1d2e4b5a697`, `oaas dead-letters list --queue inventory.commands.0 --since 2h`"""
_GROUPS_HELP: Final = """Tell what has failed, by cause: how many letters, since when, whose, where, which error. The first thing to type.

Two letters have one cause (fingerprint) if the same kind of error left the same place in our code.

Examples: `oaas dead-letters groups`, `oaas dead-letters groups --since 30m`, `oaas dead-letters groups --state ARCHIVED`"""
_SHOW_HELP: Final = """Tell the story of one letter: what died, where and why, what it says, how its saga stands, what can be done now.

Example: `oaas dead-letters show 0192b0c4-7a51-7c3e-9f0e-5d0c3b1a2f44`"""
_AUDIT_HELP: Final = """Tell who did what to dead letters, when and why, and what came of it; the newest first. Nobody can change it.

Examples: `oaas dead-letters audit`, `oaas dead-letters audit --letter ID`, `oaas dead-letters audit --replay ID`"""


@letters_app.command("groups", help=_GROUPS_HELP, rich_help_panel=_PANEL)
@plainly
@filtered
def groups(chosen: dict[str, Any], url: Url = None, json_: Json = False) -> None:
    from infra.cli.desk_client import here
    from infra.cli.letters.client import PATH
    from infra.cli.letters.drawing import draw_groups
    from infra.clock import now

    with here(url) as client:
        found = client.get(f"{PATH}/groups", **as_query(chosen))
    print_json(found) if json_ else draw_groups(OUT, found, as_flags(chosen), now(), chosen.get("state"))


@letters_app.command("list", help=_LIST_HELP, rich_help_panel=_PANEL)
@plainly
@filtered
def list_(chosen: dict[str, Any], limit: Limit = 30, cursor: Cursor = None, url: Url = None, json_: Json = False) -> None:
    from infra.cli.desk_client import here
    from infra.cli.letters.client import PATH
    from infra.cli.letters.drawing import draw_letters
    from infra.clock import now

    with here(url) as client:
        page = client.get(PATH, limit=limit, cursor=cursor, **as_query(chosen))
    print_json(page) if json_ else draw_letters(OUT, page, now())


@letters_app.command(help=_SHOW_HELP, rich_help_panel=_PANEL)
@plainly
def show(letter: Annotated[UUID, typer.Argument(help="the letter's id")], url: Url = None, json_: Json = False) -> None:
    from infra.cli.desk_client import here
    from infra.cli.letters.client import PATH
    from infra.cli.letters.drawing import draw_letter
    from infra.clock import now

    with here(url) as client:
        found = client.get(f"{PATH}/{letter}")
    print_json(found) if json_ else draw_letter(OUT, found, now())


@letters_app.command(help=_AUDIT_HELP, rich_help_panel=_PANEL)
@plainly
def audit(
    letter: Annotated[UUID | None, typer.Option(help="what was done to this letter")] = None,
    replay: Annotated[UUID | None, typer.Option(help="what was done with this replay")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = None,
    json_: Json = False,
) -> None:
    from infra.cli.desk_client import here
    from infra.cli.letters.acts_drawing import draw_audit
    from infra.cli.letters.audited import audited

    with here(url) as client:
        page = audited(client, letter=letter, replay=replay, limit=limit, cursor=cursor)
    print_json(page) if json_ else draw_audit(OUT, page)


letters_app.add_typer(replay_app)
letters_app.add_typer(mending_app)
letters_app.add_typer(acting_app)
letters_app.add_typer(drain_app)
