"""`oaas dead-letters edit|export|import`: what letters say is mended, one in an editor or many in a file.

Exit codes: 0 done; 1 something was refused; 2 it could not run as asked.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from infra.cli.asking import confirm, is_somebody_there, require_somebody
from infra.cli.flags import Reason, Url, Yes
from infra.cli.letters.filters import as_flags, as_query, filtered
from infra.cli.plainly import ERRORS, JSON, OUT, Refused, counted, plainly, print_json

if TYPE_CHECKING:
    from infra.cli.desk_client import DeskClient

mending_app: Final = typer.Typer(rich_markup_mode="markdown")
_PANEL: Final = "Mend"
_PROGRESS_AFTER_S: Final = 1.0
_EDIT_HELP: Final = """Change what one letter says, in $EDITOR, with --set, or from a file; it shows the difference and asks.

Only its data, only as its contract allows, and only if nobody has handled it. The message keeps its id; what died is kept beside it.
A hidden secret stays what it is. Send it afterwards with `oaas dead-letters replay ID`.

- `oaas dead-letters edit ID --reason 'the shop has moved'`
- `oaas dead-letters edit ID --set lines[0].quantity=2 --set shop_id=4f2c... --reason 'ticket 4711'`
- `oaas dead-letters edit ID --file mended.json --reason 'ticket 4711' --yes`"""
_EXPORT_HELP: Final = """Write letters into a file, one line of JSON each, to be mended with tools of yours and taken in by `import`.

Mend `data`, leave `id` and `revision`. Secrets are hidden, and stay what they are; letters that cannot be read are counted, not written.

Example: `oaas dead-letters export --fingerprint 3fa9c1d2e4b5a697 --to letters.ndjson`"""
_IMPORT_HELP: Final = """Take in the mended lines of an export: it shows what would change, and asks. What says nothing new is no change.

Each line is taken or refused by itself; mend those that are named and import the file again.

Example: `oaas dead-letters import letters.ndjson --reason 'ticket 4711' --dry-run`, and then without --dry-run"""


@mending_app.command(help=_EDIT_HELP, rich_help_panel=_PANEL)
@plainly
def edit(
    letter: Annotated[UUID, typer.Argument(help="the letter's id")],
    reason: Reason,
    set_: Annotated[list[str] | None, typer.Option("--set", help="field=value, such as lines[0].quantity=2; may be repeated")] = None,
    file: Annotated[Path | None, typer.Option(help="all of its data, as JSON")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would change")] = False,
    yes: Yes = False,
    url: Url = None,
    json_: Annotated[bool, JSON] = False,
) -> None:
    from infra.cli.desk_client import here
    from infra.cli.letters.client import PATH
    from infra.cli.letters.editing import changed_with, read_data

    if set_ and file:
        raise ValueError("say what it shall say in one way: --set or --file")
    if not dry_run:
        require_somebody(yes=yes)
    from_file = None if file is None else read_data("--file", file)
    with here(url) as client:
        found = client.get(f"{PATH}/{letter}")
        body = found["body"]
        if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
            raise Refused(f"letter {letter} is no message that can be read, so nothing of it can be changed; it can be archived")
        asked = {"reason": reason, "revision": found["revision"]}
        if set_ or from_file is not None:
            data = changed_with(body["data"], set_ or []) if from_file is None else from_file
            _edit(client, letter, {**asked, "data": data}, dry_run=dry_run, yes=yes, as_json=json_)
        else:
            _edit_by_hand(client, letter, body["data"], asked, dry_run=dry_run, yes=yes, as_json=json_)


def _edit_by_hand(client: "DeskClient", letter: UUID, data: Any, asked: dict[str, Any], *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """In the editor, as often as it takes; what was written is not lost if it is not taken."""
    from infra.cli.letters.editing import Draft
    from infra.errors import Misconfigured

    with Draft(data) as draft:
        while True:
            try:
                return _edit(client, letter, {**asked, "data": draft.edited()}, dry_run=dry_run, yes=yes, as_json=as_json)
            except Refused as error:
                raise Refused(f"{error}{draft.kept()}") from None
            except (ValueError, Misconfigured) as error:
                if not is_somebody_there():
                    raise Misconfigured(f"{error}{draft.kept()}") from None
                ERRORS.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
            if not typer.confirm("edit it again?", default=True, err=True):
                raise ValueError(f"nothing was changed{draft.kept()}")


def _edit(client: "DeskClient", letter: UUID, wanted: dict[str, Any], *, dry_run: bool, yes: bool, as_json: bool) -> None:
    from infra.cli.letters.acts_drawing import draw_diff
    from infra.cli.letters.client import PATH
    from infra.cli.letters.drawing import draw_next

    preview = client.put(f"{PATH}/{letter}/payload", {**wanted, "dry_run": True})
    if not as_json:
        draw_diff(OUT, preview["diff"]) if preview["diff"] else OUT.print("nothing would change")
    if dry_run or not preview["diff"]:
        if as_json:
            print_json(preview)
        return
    confirm("change it?", yes=yes)
    edited = client.put(f"{PATH}/{letter}/payload", wanted)
    if as_json:
        print_json(edited)
    else:
        OUT.print(f"changed: revision {edited['revision']}", highlight=False)
        draw_next(OUT, {f"oaas dead-letters replay {letter} --reason '...'": "send it again"})


@mending_app.command(help=_EXPORT_HELP, rich_help_panel=_PANEL)
@plainly
@filtered
def export(
    chosen: dict[str, Any],
    to: Annotated[Path, typer.Option(help="the file, which must not be there yet", show_default=False)],
    url: Url = None,
    json_: Annotated[bool, JSON] = False,
) -> None:
    from infra.cli.desk_client import here
    from infra.cli.letters.client import PATH
    from infra.cli.letters.drawing import draw_next
    from infra.cli.letters.editing import written_whole

    count = 0
    with here(url) as client:
        with written_whole("--to", to) as file:
            for piece in client.get_lines(f"{PATH}/export", **as_query(chosen)):
                file.write(piece)
                count += piece.count(b"\n")
        left_out = _left_out(client, chosen)
    if json_:
        print_json({"letters": count, "unreadable": left_out, "file": str(to)})
        return
    OUT.print(f"{counted(count, 'letter')} in {to}", style="bold", highlight=False, soft_wrap=True)
    steps = (
        {f"oaas dead-letters import {shlex.quote(str(to))} --reason '...' --dry-run": "when they are mended: what would change"}
        if count
        else {}
    )
    if left_out:
        OUT.print(f"{counted(left_out, 'letter')} left out: what it says cannot be read, so it cannot be mended", highlight=False)
        steps[f"oaas dead-letters list {as_flags({**chosen, 'readable': False})}"] = "what was left out"
    draw_next(OUT, steps)


def _left_out(client: "DeskClient", chosen: dict[str, Any]) -> int:
    """How many of the letters that fit no export can have."""
    from infra.cli.letters.client import PATH

    if chosen.get("readable"):
        return 0
    return int(client.get(f"{PATH}/groups", **as_query({**chosen, "readable": False}))["total"])


@mending_app.command("import", help=_IMPORT_HELP, rich_help_panel=_PANEL)
@plainly
def import_(
    file: Annotated[Path, typer.Argument(help="what `export` has written and you have mended")],
    reason: Reason,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would change")] = False,
    yes: Yes = False,
    url: Url = None,
    json_: Annotated[bool, JSON] = False,
) -> None:
    from infra.cli.counting import Counting
    from infra.cli.desk_client import here
    from infra.cli.letters.acts_drawing import draw_imported
    from infra.cli.letters.client import import_lines
    from infra.cli.letters.editing import lines_of

    if not dry_run:
        require_somebody(yes=yes)
    lines = lines_of("FILE", file)
    with here(url) as client, Counting(ERRORS, "import", _PROGRESS_AFTER_S) as counting:
        imported = import_lines(client, lines, reason, dry_run=True, told=lambda sent: counting.told(sent, len(lines)))
        if not json_:
            draw_imported(OUT, imported, dry_run=True)
        if not dry_run and imported["changed"]:
            counting.hide()
            confirm(f"change these {imported['changed']}?", yes=yes)
            imported = import_lines(client, lines, reason, dry_run=False, told=lambda sent: counting.told(sent, len(lines)))
            if not json_:
                draw_imported(OUT, imported, dry_run=False)
    if json_:
        print_json(imported)
    if imported["refused"]:
        raise typer.Exit(1)
