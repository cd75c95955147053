"""What operators see in a terminal: lists, one saga's timeline, stories, and what came of their verbs."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.cli.pages import Cells, draw_page

Json = Mapping[str, Any]

_COLOURS: Final[Mapping[str, str]] = {
    "COMPLETED": "green",
    "ABANDONED": "yellow",
    "COMPENSATING": "yellow",
    "ABANDONING": "yellow",
    "PARKED": "bold red",
    "NEEDS_ATTENTION": "bold red",
    "PAUSED": "magenta",
}
_SIGNS: Final[Mapping[str, str]] = {
    "ASKED": "→",
    "ASKED_AGAIN": "↻",
    "ANSWERED": "✓",
    "REFUSED": "✗",
    "TRY_LATER": "…",
    "SILENT": "∅",
    "FAULTED": "✗",
    "LATE": "✓",
    "CONTRADICTED": "‼",
    "OVERTAKEN": "‼",
    "OVERDUE": "∅",
    "PARKED": "‖",
    "NEEDS_ATTENTION": "‼",
    "COMPENSATING": "↶",
}
_ALARMING: Final = {"REFUSED", "SILENT", "FAULTED", "CONTRADICTED", "OVERTAKEN", "OVERDUE", "PARKED", "NEEDS_ATTENTION", "COMPENSATING"}
_ENDS: Final = {
    "ANSWERED": "done",
    "REFUSED": "refused",
    "SILENT": "no answer",
    "FAULTED": "failed",
    "LATE": "done late",
    "SKIPPED": "skipped",
}
_LIST: Final = {"saga": 0, "state": 0, "name": 130, "waits for": 0, "still for": 0, "age": 100, "fingerprint": 190, "tenant": 160}
"""Columns of the list, and how wide a terminal has to be for each: an id is never broken."""
_ROWS_MAX: Final = 20
_SAMPLES_MAX: Final = 3
_TELL_FROM: Final = timedelta(milliseconds=1)
"""Waits shorter than this are not drawn."""
_SECTIONS: Final = {
    "where": "Where it is",
    "waits_for": "What it waits for",
    "failed": "What failed",
    "undone": "What was undone",
    "people": "Who intervened",
    "to_do": "What to do",
}


def plain(value: object) -> str:
    """As text without anything that a terminal would obey: people and participants wrote some of it."""
    return "".join(letter if letter.isprintable() else "·" for letter in str(value))


def draw_list(out: Console, page: Json) -> None:
    """One line per saga."""
    if not page["items"]:
        out.print("no saga fits")
        return
    now = _time(page["at"])
    things: list[Cells] = [
        {
            "saga": one["id"],
            "state": Text(one["state"], _COLOURS.get(one["state"], "")).append(" stuck" if one["stuck"] else "", "red"),
            "waits for": plain(one["step"] or ""),
            "still for": span(now - _time(one["progressed_at"])),
            "age": span(now - _time(one["started_at"])),
            "name": f"{plain(one['saga'])} {one['version']}",
            "tenant": one["tenant_id"],
            "fingerprint": plain(one["fingerprint"] or ""),
        }
        for one in page["items"]
    ]
    draw_page(out, _LIST, things, page["next"], folds="waits for")


def draw_saga(out: Console, saga: Json) -> None:
    """How one saga stands, its steps, its timeline, and what can be done now."""
    now = _time(saga["at"])
    out.print(_heading(saga))
    out.print(f"order {plain(saga['order'])}   tenant {saga['tenant_id']}   revision {saga['revision']}", highlight=False)
    if saga["unreadable"]:
        out.print(Text(plain(saga["unreadable"]), "red"))
    if saga["why"]:
        out.print(f"turned back because of {plain(saga['why'])}", highlight=False)
    out.print()
    out.print(_steps(saga, now))
    out.print()
    out.print(_timeline(saga))
    standing = "" if saga["state"] == "PARKED" else ", no time runs"
    for one in saga["outstanding"]:
        until = f", until {_clock(one['until'])} ({_from(_time(one['until']), now)})" if one["until"] else standing
        out.print(f"  waits for {plain(one['step'])}: {one['status']}, asked {one['attempts']} x{until}", highlight=False)
    if saga["state"] == "PARKED" and saga["wakes_at"]:
        given_up = f"{_clock(saga['wakes_at'])} ({_from(_time(saga['wakes_at']), now)})"
        out.print(f"  parked until somebody has mended the fault; given up {given_up}", highlight=False)
    out.print()
    for verb in saga["verbs"]:
        out.print(Text.assemble(f"  {verb['verb']:<7}", ("yes", "green") if verb["legal"] else (f"no: {plain(verb['why_not'])}", "dim")))


def draw_story(out: Console, story: Json, letters_of: Callable[[Json], Iterable[str]] = lambda _: ()) -> None:
    """The story in words, a paragraph per question, and the dead letters of each saga."""
    for one in story["sagas"]:
        out.print(_heading(one))
        out.print(Text(plain(one["what"])))
        for name, title in _SECTIONS.items():
            if one[name]:
                out.print(Text(title, "bold"))
                for line in one[name]:
                    # Commands are typed off the screen: they must not be broken.
                    out.print(Text(f"  {plain(line)}"), soft_wrap=name == "to_do")
        draw_lines(out, "Its dead letters", letters_of(one))
        out.print()


def draw_lines(out: Console, title: str, lines: Iterable[str]) -> None:
    """A paragraph with commands in it; nothing if there are no lines."""
    if found := list(lines):
        out.print(Text(title, "bold"))
    for line in found:
        out.print(Text(f"  {plain(line)}"), soft_wrap=True)


def draw_acted_on_one(out: Console, verb: str, before: Json, after: Json) -> None:
    """From where to where the verb moved it."""
    out.print(f"{verb}: {before['id']} was {before['state']}, is {after['state']}, revision {after['revision']}", highlight=False)
    if after["step"]:
        out.print(f"it waits for {plain(after['step'])}", highlight=False)


def draw_counts(out: Console, verb: str, counted: Json) -> None:
    """What there would be to act on."""
    # Whether each takes the verb is found out when it is done: to know it before, every one of them would have to be read.
    out.print(f"{verb} would try on {counted['total']} sagas", highlight=False, style="bold")
    for name in ("state", "step", "saga", "tenant"):
        for what, number in list(counted[f"by_{name}"].items())[:_ROWS_MAX]:
            out.print(f"  {name:<7}{number:>8}  {plain(what)}", highlight=False)
    if counted["sample"]:
        out.print(f"  for example {', '.join(counted['sample'][:_SAMPLES_MAX])}", highlight=False, soft_wrap=True)


def draw_tally(out: Console, verb: str, total: int, tally: Json) -> None:
    """What came of it, and why for those that were left out."""
    gone = total - sum(tally[name] for name in ("done", "refused", "moved"))
    out.print(f"{verb}: {tally['done']} done, {tally['refused']} refused, {tally['moved']} moved meanwhile", highlight=False, style="bold")
    if gone > 0:
        out.print(f"  {gone} did not fit any more")
    for one in tally["not_done"][:_ROWS_MAX]:
        out.print(f"  {one['id']}  {plain(one['why'])}", highlight=False, soft_wrap=True)


def span(length: timedelta) -> str:
    """`1.2 s`, `3 min 20 s`: to the two largest units, and finer below a minute."""
    seconds = length.total_seconds()
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    if abs(seconds) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _heading(one: Json) -> Text:
    name = f"{plain(one['saga'])} {one['saga_id'] if 'saga_id' in one else one['id']}  "
    return Text.assemble((name, "bold"), (one["state"], _COLOURS.get(one["state"], "bold")), (" stuck" if one.get("stuck") else "", "red"))


def _steps(saga: Json, now: datetime) -> Table:
    """Each thing that was asked: how often, how long it took, what came of it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("step", "tries", "took", "came to"):
        table.add_column(column, no_wrap=column != "came to")
    asked: dict[tuple[str, str], list[Json]] = {}
    for event in saga["events"]:
        if event["step"]:
            asked.setdefault((event["phase"], event["step"]), []).append(event)
    for (phase, step), events in asked.items():
        end = next((event for event in reversed(events) if event["kind"] in _ENDS), None)
        took = span((_time(end["at"]) if end else now) - _time(events[0]["at"]))
        tries = max(event["attempt"] or 1 for event in events)
        came = _came_to(end) if end else "not answered yet"
        table.add_row(f"  ↶ {plain(step)}" if phase == "undo" else plain(step), str(tries), took, came)
    return table


def _came_to(end: Json) -> str:
    by = f" by {plain(end['actor'])}, on whose word it is taken as done" if end["kind"] == "SKIPPED" else ""
    return f"{_ENDS[end['kind']]}{by}" + (f" ({plain(end['detail'])})" if end["detail"] else "")


def _timeline(saga: Json) -> Table:
    """Every fact, with the time that passed before it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for options in ({"no_wrap": True}, {"no_wrap": True, "justify": "right", "style": "dim"}, {"no_wrap": True}, {"overflow": "fold"}):
        table.add_column(**options)
    before = None
    for event in saga["events"]:
        at = _time(event["at"])
        waited = "" if before is None or at - before < _TELL_FROM else f"+{span(at - before)}"
        style = "red" if event["kind"] in _ALARMING else "cyan" if event["actor"] else ""
        table.add_row(_clock(event["at"]), waited, Text(_SIGNS.get(event["kind"], "●"), style), Text(plain(event["words"]), style))
        before = at
    return table


def _clock(at: str) -> str:
    return f"{_time(at):%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z"


def _from(at: datetime, now: datetime) -> str:
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


def _time(at: str) -> datetime:
    return datetime.fromisoformat(at)
