"""What operators see of replays in a terminal: the plan before, how far it is, what came of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from infra.cli.desk_drawing import plain
from infra.cli.letters.acts_drawing import draw_numbers
from infra.cli.letters.drawing import ago, clock, draw_next
from infra.cli.pages import Cells, draw_page

Json = Mapping[str, Any]

COLOURS: Final[Mapping[str, str]] = {
    "PLANNED": "bold",
    "RUNNING": "yellow",
    "PAUSED": "magenta",
    "STOPPED": "bold red",
    "CANCELLED": "dim",
    "EXPIRED": "dim",
    "DONE": "green",
    "SETTLED": "green",
    "KNOWN": "green",
    "FAILED": "red",
}
_LEFT_OUT: Final[Mapping[str, str]] = {
    "ended": "their saga has ended; --include-ended sends them nevertheless",
    "held_back": "replayed in vain three times: mend them first; --include-held-back sends them nevertheless",
    "too_old": "too old: their service may have forgotten that it has handled them, and would do it twice",
    "replaying": "being replayed already",
    "unreadable": "no messages that anybody can read; name them by id to send them as they came",
    "not_dead": "settled or archived",
}
_COUNTS: Final[Mapping[str, str]] = {
    "settled": "settled",
    "known": "had been handled before; nothing was changed",
    "failed": "failed again",
    "left_out_now": "left out: no longer as planned",
    "cancelled": "cancelled before they were sent",
    "sent": "on their way",
    "waiting": "not sent yet",
}
_SAMPLES_MAX: Final = 3
_LIST: Final = {"replay": 0, "state": 0, "letters": 0, "settled": 0, "failed": 0, "by": 110, "planned": 130, "reason": 150}
"""Columns of the list, and how wide a terminal has to be for each: an id is never broken."""


def draw_plan(out: Console, plan: Json) -> None:
    """What would be sent, what would not, and what to know before."""
    out.print(f"{plan['total']} letters would be sent again", style="bold", highlight=False)
    draw_numbers(out, plan)
    for why, number in plan["left_out"].items():
        if number:
            out.print(Text(f"  left out{number:>7}  {_LEFT_OUT.get(why, why)}", "yellow"), soft_wrap=True)
    for warning in plan["warnings"]:
        out.print(Text(f"! {plain(warning)}", "bold yellow"), soft_wrap=True)
    if plan["sample"]:
        out.print(f"  for example {', '.join(plan['sample'][:_SAMPLES_MAX])}", highlight=False, soft_wrap=True)
    if plan["total"]:
        out.print(f"plan {plan['id']}, to be started until {clock(plan['expires_at'])}", highlight=False, soft_wrap=True)


def draw_replay(out: Console, replay: Json, outcomes: Sequence[Json] = ()) -> None:
    """How far one replay is, what came of these letters of it, and what can be done with it now."""
    out.print(Text.assemble((f"replay {replay['id']}  ", "bold"), (replay["state"], COLOURS.get(replay["state"], ""))), soft_wrap=True)
    for name, meaning in _COUNTS.items():
        if replay.get(name):
            out.print(f"  {replay[name]:>8}  {meaning}", highlight=False)
    out.print(f"  {replay['total']:>8}  in the plan, by {plain(replay['actor'])}: {plain(replay['reason'])}", highlight=False, markup=False)
    if replay["state"] == "STOPPED":
        out.print(Text(f"  {_why_stopped(replay)}", "red"), soft_wrap=True)
    elif replay["detail"]:
        out.print(Text(f"  {plain(replay['detail'])}"), soft_wrap=True)
    for one in outcomes:
        line = Text.assemble(f"  {one['letter_id']}  ", (one["state"], COLOURS.get(one["state"], "")), f"  {plain(one['detail'])}")
        out.print(line, soft_wrap=True)
    draw_next(out, to_do(replay))


def _why_stopped(replay: Json) -> str:
    most = f"more than the {replay['stop_above_percent']} % of --stop-above" if "stop_above_percent" in replay else "too many"
    left = f"{replay['waiting']} letters were not sent" if replay["waiting"] else "all letters had been sent"
    return f"It stopped itself: {plain(replay['detail'])}, {most}; {left}. Mend what these failed of, then resume it, or cancel it."


def in_a_word(replay: Json) -> str:
    """What a bar says of a replay that goes on."""
    failed = f", {replay['failed']} failed" if replay["failed"] else ""
    waits = f", {plain(replay['detail'])}" if replay["detail"] else ""
    return f"{replay['state'].lower()}{failed}{waits}"


def to_do(replay: Json) -> dict[str, str]:
    """The commands that make sense for the replay as it stands, and what each is for."""
    id, command = replay["id"], "oaas dead-letters"
    cancel = {f"{command} cancel {id} --reason '...'": "end it; what was sent still gets its outcome"}
    match replay["state"]:
        case "PLANNED":
            return {f"{command} replay --plan {id}": "send exactly these", **cancel}
        case "RUNNING":
            return {
                f"{command} replays --follow {id}": "watch it",
                f"{command} pause {id} --reason '...'": "send nothing more for now",
                **cancel,
            }
        case "PAUSED":
            return {f"{command} resume {id} --reason '...'": "go on", **cancel}
        case "STOPPED":
            look = {f"{command} groups": "what they failed of this time"}
            return {**look, f"{command} resume {id} --reason '...'": "go on, with a canary first if it had one", **cancel}
        case _:
            is_left = replay["failed"] or replay["left_out_now"] or replay.get("cancelled")
            return {f"{command} groups": "what is left"} if is_left else {}


def draw_replays(out: Console, page: Json, now: datetime) -> None:
    """One line per replay, the newest first."""
    if not page["replays"]:
        out.print("no replay fits")
        return
    things: list[Cells] = [
        {
            "replay": one["id"],
            "state": Text(one["state"], COLOURS.get(one["state"], "")),
            "letters": str(one["total"]),
            "settled": str(one["settled"] + one["known"]),
            "failed": Text(str(one["failed"]), "red" if one["failed"] else ""),
            "by": plain(one["actor"]),
            "planned": ago(one["planned_at"], now),
            "reason": plain(one["reason"]),
        }
        for one in page["replays"]
    ]
    draw_page(out, _LIST, things, page["next"], folds="reason")
