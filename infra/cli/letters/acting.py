"""`oaas dead-letters archive|restore|purge` and, in infra/cli/letters/mending.py, `edit|export|import`.

Exit codes: 0 done; 1 something was refused; 2 it could not run as asked.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from infra.cli.asking import confirm, require_somebody
from infra.cli.flags import Reason, Url, Yes
from infra.cli.letters.filters import Ids, filtered
from infra.cli.plainly import ERRORS, JSON, OUT, plainly, print_json

acting_app: Final = typer.Typer(rich_markup_mode="markdown")
_PANEL: Final = "Put away"
_PROGRESS_AFTER_S: Final = 1.0
_VERBS: Final = {
    "archive": """Put letters away that nobody wants handled: by id or by filter. They can be restored for 30 days
(OAAS_DEAD_LETTER_KEEP_DAYS), and are deleted then. Only what is DEAD.

- `oaas dead-letters archive ID --reason 'a test order'`
- `oaas dead-letters archive --fingerprint 3fa9c1d2e4b5a697 --reason 'ticket 4711'`""",
    "restore": """Take letters out of the archive; they are dead again, and can be mended and sent.

Only what is ARCHIVED: without --state as with it.

Example: `oaas dead-letters restore ID --reason 'they do want it'`""",
    "purge": """Delete letters of the archive for good. Only what was done to them stays, in the audit.

Only what is ARCHIVED: without --state as with it.

Example: `oaas dead-letters purge --until 30d --reason 'died more than a month ago'`""",
}


def _acting(verb: str) -> Callable[..., None]:
    @plainly
    @filtered
    def act(
        chosen: dict[str, Any],
        *,
        ids: Ids = None,
        reason: Reason,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="only count what it would act on")] = False,
        yes: Yes = False,
        url: Url = None,
        json_: Annotated[bool, JSON] = False,
    ) -> None:
        if bool(ids) == bool(chosen):
            raise ValueError("say which letters: either ids, or at least one filter, such as --fingerprint")
        which: dict[str, Any] = {"letters": [str(id) for id in ids]} if ids else {"filter": chosen}
        _act(verb, {**which, "reason": reason}, dry_run=dry_run, yes=yes, url=url, as_json=json_)

    return act


for _verb, _help in _VERBS.items():
    acting_app.command(_verb, help=_help, rich_help_panel=_PANEL)(_acting(_verb))


def _act(verb: str, body: dict[str, Any], *, dry_run: bool, yes: bool, url: str | None, as_json: bool) -> None:
    from infra.cli.counting import Counting
    from infra.cli.desk_client import here
    from infra.cli.letters.acts_drawing import draw_acted, draw_would_act
    from infra.cli.letters.client import PATH, act_on_letters

    if not dry_run:
        require_somebody(yes=yes)
    with here(url) as client:
        counted = client.post(f"{PATH}/{verb}", {**body, "dry_run": True})
        nothing_more = dry_run or not counted["done"]
        if not as_json:
            draw_would_act(OUT, verb, counted)
        elif nothing_more:
            print_json(counted)
        if nothing_more:
            raise typer.Exit(1 if counted["refused"] else 0)
        confirm(f"{verb} these {counted['done']}?", yes=yes)
        with Counting(ERRORS, verb, _PROGRESS_AFTER_S) as counting:
            # Only what was counted: `as_of` leaves out what has died since.
            asked = {**body, "as_of": counted["as_of"]}
            acted = act_on_letters(client, verb, asked, lambda done: counting.told(done, counted["done"]))
    print_json(acted) if as_json else draw_acted(OUT, verb, acted)
    if acted["refused"]:
        raise typer.Exit(1)
