"""`oaas saga ...` and `oaas why`: what operators type. They speak to the HTTP API; drawing and recording definitions need none.

Exit codes: 0 done; 1 something was refused, or is not there; 2 it could not run as asked.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from infra.cli.asking import confirm, require_somebody
from infra.cli.flags import Reason, Url, flagged
from infra.cli.plainly import ERRORS, JSON, OUT, plainly, print_json

saga_app: Final = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The sagas: find them, see how they stand, and act on them.\n\nStart with `oaas saga list`; `oaas why ID` tells a story in words.",
)
WHY_HELP: Final = """Tell the whole story of an order in plain words: where it is, what it waits for, what failed, who did what, what to do.

ID is an order, a saga, a message or a trace.

Example: `oaas why 3f2b8c1e-6f0a-4e0e-9d5a-2f1c7b9e4d10`"""

Json = Annotated[bool, JSON]
SagaId = Annotated[str | None, typer.Argument(help="the saga's id; or leave it out and say which with filters", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only count what it would act on")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask before acting on what the filters find")]
Answer = Annotated[str | None, typer.Option(help="the fields of the answer, as JSON")]

_FLAGS: Final[Mapping[str, Any]] = {
    "state": Annotated[str | None, typer.Option(help="RUNNING, COMPENSATING, ABANDONING, COMPLETING, PARKED, NEEDS_ATTENTION, PAUSED ...")],
    "step": Annotated[str | None, typer.Option(help="a step that it waits for, such as reserve-stock or 'undo of reserve-stock'")],
    "tenant": Annotated[str | None, typer.Option(help="id of its tenant")],
    "saga": Annotated[str | None, typer.Option("--saga", help="its definition, such as place-order")],
    "order": Annotated[str | None, typer.Option(help="id of the order that it is about")],
    "fingerprint": Annotated[str | None, typer.Option(help="of the fault that stopped it")],
    "older_than": Annotated[str | None, typer.Option(help="started at least so long ago: 30s, 15m, 2h, 7d")],
    "stuck": Annotated[bool | None, typer.Option("--stuck", help="only without progress for longer than its deadline")],
}


def _chosen(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.upper() if name == "state" else value for name, value in said.items() if value}


_filtered: Final = flagged(_FLAGS, _chosen)
_PROGRESS_AFTER_S: Final = 2.0
_VERBS: Final = {
    "retry": "Ask again, now, for every answer that is missing; a parked saga goes on.\n\n"
    "Example: `oaas saga retry --fingerprint 1f0c --reason 'release 1.4.2 mends it' --dry-run`",
    "cancel": "Undo everything and abandon; refused past the point of no return.\n\nExample: `oaas saga cancel ID --reason 'ticket 4711'`",
    "pause": "Hold it: answers are noted, nothing is asked, no time runs.\n\n"
    "Example: `oaas saga pause --step authorise-payment --reason 'the provider is down' --yes`",
    "resume": "Let a paused saga go on, with the time that was left.\n\nExample: `oaas saga resume --state PAUSED --reason 'it is back'`",
}


@saga_app.command("list", help="List sagas: what waits for people first, then what is stuck.\n\nExample: `oaas saga list --state PARKED`")
@plainly
@_filtered
def list_(
    chosen: dict[str, Any],
    limit: Annotated[int, typer.Option(min=1, max=200, help="how many at most")] = 30,
    cursor: Annotated[str | None, typer.Option(help="go on where the last page ended")] = None,
    url: Url = None,
    json_: Json = False,
) -> None:
    from infra.cli.desk_client import here
    from infra.cli.desk_drawing import draw_list

    with here(url) as client:
        page = client.get("/sagas", limit=limit, cursor=cursor, **chosen)
    print_json(page) if json_ else draw_list(OUT, page)


@saga_app.command(help="Draw one saga: steps, attempts, waits, undo, who did what, what can be done now.\n\nExample: `oaas saga show ID`")
@plainly
def show(saga_id: Annotated[str, typer.Argument(help="the saga's id")], url: Url = None, json_: Json = False) -> None:
    from infra.cli.desk_client import here
    from infra.cli.desk_drawing import draw_lines, draw_saga
    from infra.cli.letters.beside_sagas import letters_beside, lines

    word = _one_word(saga_id, "name a saga by its id")
    with here(url) as client:
        saga = client.get(f"/sagas/{word}")
        beside = letters_beside(client, [saga["id"]])
    if json_:
        print_json({**saga, "letters": beside.as_json()})
    else:
        draw_saga(OUT, saga)
        draw_lines(OUT, "Its dead letters", lines(beside, saga["id"], saga["state"]))
    _tell_unheard(beside.unheard)


@plainly
def why(id: Annotated[str, typer.Argument(help="an order, a saga, a message or a trace")], url: Url = None, json_: Json = False) -> None:
    """See WHY_HELP; registered beside `saga`, since people ask it first."""
    from infra.cli.desk_client import here
    from infra.cli.desk_drawing import draw_story
    from infra.cli.letters.beside_sagas import letters_beside, lines

    word = _one_word(id, "name an order, saga, message or trace")
    with here(url) as client:
        story = client.get(f"/why/{word}")
        beside = letters_beside(client, [one["saga_id"] for one in story["sagas"]])
    if json_:
        print_json({**story, "letters": beside.as_json()})
    else:
        draw_story(OUT, story, lambda one: lines(beside, one["saga_id"], one["state"]))
    _tell_unheard(beside.unheard)


def _tell_unheard(why_not: str | None) -> None:
    if why_not is not None:
        ERRORS.print(why_not, highlight=False, markup=False, soft_wrap=True)


def _acting(verb: str) -> Callable[..., None]:
    @plainly
    @_filtered
    def act(
        chosen: dict[str, Any],
        *,
        saga_id: SagaId = None,
        reason: Reason,
        dry_run: DryRun = False,
        yes: Yes = False,
        url: Url = None,
        json_: Json = False,
    ) -> None:
        _act(verb, saga_id, {"reason": reason}, chosen, dry_run=dry_run, yes=yes, url=url, as_json=json_)

    return act


for _verb, _help in _VERBS.items():
    saga_app.command(_verb, help=_help)(_acting(_verb))


@saga_app.command(
    help="Take an answer as given by the participant that has not: for what was done by hand.\n\n"
    "--step says which, and may be left out if one answer is missing.\n\n"
    """Example: `oaas saga skip ID --step reserve-stock --answer '{"reservation_id": "..."}' --reason 'counted by hand'`"""
)
@plainly
@_filtered
def skip(
    chosen: dict[str, Any],
    *,
    saga_id: SagaId = None,
    reason: Reason,
    answer: Answer = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    json_: Json = False,
) -> None:
    # --step says which answer is given, and among many sagas which of them wait for it.
    body = {"reason": reason, "step": chosen.get("step"), "answer": _fields(answer)}
    if saga_id:
        chosen.pop("step", None)
    _act("skip", saga_id, body, chosen, dry_run=dry_run, yes=yes, url=url, as_json=json_)


@saga_app.command()
@plainly
def draw(name: Annotated[str, typer.Argument(help="the saga's name, for example place-order")]) -> None:
    """Draw a saga as a Mermaid diagram, from the value that runs."""
    from importlib import import_module

    sagas = {saga.name: saga for saga in reversed(import_module("sagas.consumers").SAGAS)}
    if name not in sagas:
        raise LookupError(f"there is no saga {name!r}; there is {', '.join(sagas)}")
    sys.stdout.write(import_module("sagas.engine.drawing").mermaid(sagas[name]) + "\n")


@saga_app.command()
@plainly
def record() -> None:
    """Record what new versions of sagas mean, for the start-up check; what is recorded never changes.

    A process refuses to start with a saga that means something else than when its version was released.
    """
    from importlib import import_module

    consumers = import_module("sagas.consumers")
    new = import_module("sagas.engine.released").record_new(consumers.SAGAS, consumers.RELEASED)
    OUT.print(f"recorded {', '.join(new)} in {consumers.RELEASED}" if new else "nothing new to record", highlight=False)


def _act(
    verb: str,
    saga_id: str | None,
    body: dict[str, Any],
    chosen: dict[str, Any],
    *,
    dry_run: bool,
    yes: bool,
    url: str | None,
    as_json: bool,
) -> None:
    from infra.cli.desk_client import here

    if bool(saga_id) == bool(chosen):
        raise ValueError("say which: either a saga's id or at least one filter, such as --state PARKED")
    if saga_id and dry_run:
        raise ValueError(f"--dry-run is for filters; `oaas saga show {saga_id}` says what can be done to one saga")
    with here(url) as client:
        if saga_id:
            _act_on_one(client, verb, _one_word(saga_id, "name a saga by its id"), body, as_json=as_json)
        else:
            _act_on_many(client, verb, {**body, "filter": chosen}, dry_run=dry_run, yes=yes, as_json=as_json)


def _act_on_one(client: Any, verb: str, saga_id: str, body: dict[str, Any], *, as_json: bool) -> None:
    from infra.cli.desk_drawing import draw_acted_on_one

    before = client.get(f"/sagas/{saga_id}")
    after = client.post(f"/sagas/{saga_id}/{verb}", {**body, "revision": before["revision"]})
    print_json(after) if as_json else draw_acted_on_one(OUT, verb, before, after)


def _act_on_many(client: Any, verb: str, body: dict[str, Any], *, dry_run: bool, yes: bool, as_json: bool) -> None:
    from infra.cli.counting import Counting
    from infra.cli.desk_client import tried
    from infra.cli.desk_drawing import draw_counts, draw_tally

    require_somebody(yes=dry_run or yes)
    counted = client.post(f"/sagas/{verb}", {**body, "dry_run": True})
    nothing_more = dry_run or not counted["total"]
    if not as_json:
        draw_counts(OUT, verb, counted)
    elif nothing_more:
        print_json(counted)
    if nothing_more:
        return
    confirm(f"{verb} these {counted['total']}?", yes=yes)
    with Counting(ERRORS, verb, _PROGRESS_AFTER_S) as counting:
        tally = client.act_on_many(verb, body, counted["as_of"], lambda so_far: counting.told(tried(so_far), counted["total"]))
    print_json(tally) if as_json else draw_tally(OUT, verb, counted["total"], tally)
    if tally["refused"] or tally["moved"]:
        raise typer.Exit(1)


def _fields(answer: str | None) -> dict[str, Any] | None:
    """What --answer says; raises ValueError with an example."""
    if answer is None:
        return None
    try:
        fields = json.loads(answer)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ValueError('--answer is a JSON object, such as \'{"reservation_id": "..."}\'; `oaas why ID` names the fields')
    return fields


def _one_word(id: str, mend: str) -> str:
    """The id as one segment of a path; raises ValueError for what can be none."""
    from urllib.parse import quote

    word = id.strip()
    if not word.isprintable() or "/" in word or not any(letter.isalnum() for letter in word):
        raise ValueError(mend)
    return quote(word, safe="")
