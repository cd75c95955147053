"""`oaas dead-letters replay|replays|pause|resume|cancel`: sending letters again, always by a plan of exactly which.

Exit codes: 0 every letter of the plan was handled; 1 some failed again, were left out, or it waits for people; 2 it could not run as asked.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from uuid import UUID

import typer

from infra.cli.asking import WHY, confirm, require_somebody
from infra.cli.flags import Reason, Url, Yes
from infra.cli.letters.filters import Ids, filtered
from infra.cli.plainly import ERRORS, JSON, OUT, plainly, print_json

if TYPE_CHECKING:
    from infra.cli.desk_client import DeskClient

replay_app: Final = typer.Typer(rich_markup_mode="markdown")
_PANEL: Final = "Send again"
_ReplayId = Annotated[UUID, typer.Argument(help="the replay's id, which is that of its plan")]
_REPLAY_HELP: Final = """Send letters again to the queue they died on: by id, by filter, or all. It plans, shows, asks, sends, watches.

The plan is exactly what is sent: what fails later is not in it. A letter counts as settled when its service has handled it; what was
handled before is not handled twice. Without the terminal it goes on: Ctrl-C, a killed API or a closed laptop stop nothing.

- `oaas dead-letters replay --fingerprint 3fa9c1d2e4b5a697 --reason 'release 1.4.2 mends it' --dry-run` only plans
- `oaas dead-letters replay --plan PLAN_ID --canary 5` sends exactly that plan, five letters first, and the others if those live
- `oaas dead-letters replay ID ID --reason 'ticket 4711'` sends these
- `oaas dead-letters replay --all --reason 'the provider is back' --rate 20 --yes` sends everything that is dead, 20 a second

Exit code 0: all were handled; 1: some were not; 2: it could not run as asked."""
_REPLAYS_HELP: Final = """List replays, the newest first; show one; or follow one to its end.

Examples: `oaas dead-letters replays`, `oaas dead-letters replays ID`, `oaas dead-letters replays --follow ID`"""
_VERBS: Final = {
    "pause": "Send nothing more for now; what was sent still gets its outcome.\n\n"
    "Example: `oaas dead-letters pause ID --reason 'orders are slow'`",
    "resume": "Let a replay go on that was paused, or that stopped itself because too many failed again.\n\n"
    "Example: `oaas dead-letters resume ID --reason 'mended'`",
    "cancel": "End a replay, or a plan: what waits is left out, what was sent still gets its outcome.\n\n"
    "Example: `oaas dead-letters cancel ID --reason 'wrong release'`",
}
_PROGRESS_AFTER_S: Final = 0.5
_NOT_HANDLED_SHOWN: Final = 10


@replay_app.command(help=_REPLAY_HELP, rich_help_panel=_PANEL)
@plainly
@filtered
def replay(
    chosen: dict[str, Any],
    ids: Ids = None,
    reason: Annotated[str | None, typer.Option(help="why: it is kept with your name in the audit; a --plan has its own")] = None,
    all_: Annotated[bool, typer.Option("--all", help="every letter that is dead")] = False,
    plan: Annotated[UUID | None, typer.Option(help="start this plan, of a --dry-run; it is not asked again")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only plan: count, warn, and print the plan's id")] = False,
    rate: Annotated[int, typer.Option(min=1, max=1000, help="letters per second")] = 50,
    canary: Annotated[int | None, typer.Option(min=1, max=1000, help="so many go first, the others only if those live")] = None,
    stop_above: Annotated[int, typer.Option(min=0, max=100, help="stop when more than so many percent fail again")] = 10,
    include_ended: Annotated[bool, typer.Option("--include-ended", help="also letters whose saga has ended")] = False,
    include_held_back: Annotated[bool, typer.Option("--include-held-back", help="also letters replayed in vain three times")] = False,
    yes: Yes = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="do not watch it to its end")] = False,
    url: Url = None,
    json_: Annotated[bool, JSON] = False,
) -> None:
    from infra.cli.desk_client import here

    _require_one_way([bool(ids), bool(chosen), all_, plan is not None], dry_run=dry_run, planned=plan is not None)
    pace = {"rate": rate, "canary": canary, "stop_above_percent": stop_above, "reason": reason}
    with here(url) as client:
        if plan is None:
            which = {"letters": [str(id) for id in ids]} if ids else {"filter": {"all": True} if all_ else chosen}
            wish = {**which, "reason": _said(reason), "include_ended": include_ended, "include_held_back": include_held_back}
            planned = _plan(client, wish, dry_run=dry_run, yes=yes, as_json=json_)
            if planned is None:
                return
        else:
            planned = str(plan)
        _send(client, planned, pace, no_wait=no_wait, as_json=json_)


@replay_app.command(help=_REPLAYS_HELP, rich_help_panel=_PANEL)
@plainly
def replays(
    replay: Annotated[UUID | None, typer.Argument(help="one replay's id", show_default=False)] = None,
    follow: Annotated[bool, typer.Option("--follow", help="watch it until it is over or waits for people")] = False,
    state: Annotated[
        str | None, typer.Option(help="PLANNED, RUNNING, PAUSED, STOPPED, CANCELLED, DONE, or EXPIRED: nobody started it in time")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="how many at most")] = 20,
    cursor: Annotated[str | None, typer.Option(help="go on where the last page ended")] = None,
    url: Url = None,
    json_: Annotated[bool, JSON] = False,
) -> None:
    from infra.cli.desk_client import here
    from infra.cli.letters.client import PATH
    from infra.cli.letters.replays_drawing import draw_replay, draw_replays
    from infra.clock import now

    if follow and replay is None:
        raise ValueError("--follow needs the replay's id; `oaas dead-letters replays` lists them")
    with here(url) as client:
        if follow:
            _watch(client, str(replay), as_json=json_)
        if replay is not None:
            found = client.get(f"{PATH}/replays/{replay}")
            print_json(found) if json_ else draw_replay(OUT, found)
            return
        page = client.get(f"{PATH}/replays", state=state and state.upper(), limit=limit, cursor=cursor)
    print_json(page) if json_ else draw_replays(OUT, page, now())


def _acting(verb: str) -> Callable[..., None]:
    @plainly
    def act(replay: _ReplayId, reason: Reason, url: Url = None, json_: Annotated[bool, JSON] = False) -> None:
        from infra.cli.desk_client import here
        from infra.cli.letters.client import PATH
        from infra.cli.letters.replays_drawing import draw_replay

        with here(url) as client:
            after = client.post(f"{PATH}/replays/{replay}/{verb}", {"reason": reason})
        print_json(after) if json_ else draw_replay(OUT, after)

    return act


for _verb, _help in _VERBS.items():
    replay_app.command(_verb, help=_help, rich_help_panel=_PANEL)(_acting(_verb))


def _require_one_way(ways: list[bool], *, dry_run: bool, planned: bool) -> None:
    if sum(ways) != 1:
        raise ValueError("say which letters in one way: ids, filters such as --fingerprint, --all, or a --plan")
    if dry_run and planned:
        raise ValueError("--dry-run makes a plan, --plan starts one: leave one of them out")


def _said(reason: str | None) -> str:
    if not reason or not reason.strip():
        raise ValueError(f"--reason is missing: {WHY}")
    return reason


def _plan(client: "DeskClient", wish: dict[str, Any], *, dry_run: bool, yes: bool, as_json: bool) -> str | None:
    """The id of the plan that is to be started; None if there is nothing more to do."""
    from infra.cli.letters.client import PATH
    from infra.cli.letters.drawing import draw_next
    from infra.cli.letters.patience import patiently
    from infra.cli.letters.replays_drawing import draw_plan, to_do

    if not dry_run:
        require_somebody(yes=yes)
    # Planned twice, because an answer was lost, nothing happens twice: a plan that nobody starts does nothing, and expires.
    plan = patiently(lambda: client.post(f"{PATH}/replays", wish))
    is_nothing = not plan["total"]
    if not as_json:
        draw_plan(OUT, plan)
    elif dry_run or is_nothing:
        print_json(plan)
    if is_nothing and any(plan["left_out"].values()):
        raise typer.Exit(1)
    if dry_run and not is_nothing and not as_json:
        draw_next(OUT, to_do(plan))
    if dry_run or is_nothing:
        return None
    confirm(f"send these {plan['total']}?", yes=yes)
    return str(plan["id"])


def _send(client: "DeskClient", plan_id: str, pace: dict[str, Any], *, no_wait: bool, as_json: bool) -> None:
    from infra.cli.letters.client import PATH
    from infra.cli.letters.replays_drawing import draw_replay

    started = client.post(f"{PATH}/replays/{plan_id}/start", pace)
    if not no_wait:
        _watch(client, plan_id, as_json=as_json)
    print_json(started) if as_json else draw_replay(OUT, started)


def _watch(client: "DeskClient", replay_id: str, *, as_json: bool) -> NoReturn:
    """Follow it with a bar; ends with what came of it and the exit code for that."""
    from infra.cli.counting import Counting
    from infra.cli.letters.client import PATH, came_well, follow
    from infra.cli.letters.replays_drawing import draw_replay, in_a_word

    def told(replay: dict[str, Any]) -> None:
        counting.told(replay["total"] - replay["waiting"] - replay["sent"], replay["total"], in_a_word(replay))

    try:
        with Counting(ERRORS, "replay", _PROGRESS_AFTER_S) as counting:
            ended = follow(client, replay_id, told)
    except KeyboardInterrupt:
        ERRORS.print("It goes on without you.", highlight=False)
        draw_replay(ERRORS, client.get(f"{PATH}/replays/{replay_id}"))
        raise typer.Exit(1) from None
    if as_json:
        print_json(ended)
    else:
        draw_replay(OUT, ended, _not_handled(client, ended))
    raise typer.Exit(0 if came_well(ended) else 1)


def _not_handled(client: "DeskClient", replay: dict[str, Any]) -> list[dict[str, Any]]:
    """Some of those letters of the replay that failed or were left out."""
    from infra.cli.letters.client import PATH

    pages = [
        client.get(f"{PATH}/replays/{replay['id']}/outcomes", state=state, limit=_NOT_HANDLED_SHOWN)
        for state, count in (("FAILED", replay["failed"]), ("LEFT_OUT", replay["left_out_now"]))
        if count
    ]
    return [one for page in pages for one in page["outcomes"]]
