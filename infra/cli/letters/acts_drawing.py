"""What operators see of what they do to letters in a terminal: what it would change, what came of it, and who did what."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from infra.cli.desk_drawing import plain
from infra.cli.letters.drawing import clock

Json = Mapping[str, Any]

_ROWS_MAX: Final = 12


def draw_would_act(out: Console, verb: str, counted: Json) -> None:
    """What a verb would act on, and what not."""
    out.print(f"{verb} would act on {counted['done']} letters", style="bold", highlight=False)
    draw_numbers(out, counted)
    _draw_refused(out, counted)


def draw_acted(out: Console, verb: str, acted: Json) -> None:
    """What came of it."""
    out.print(f"{verb}: {acted['done']} done, {len(acted['refused'])} refused", style="bold", highlight=False)
    _draw_refused(out, acted)


def draw_numbers(out: Console, counted: Json) -> None:
    """How many letters by queue, type and tenant."""
    for name in ("queue", "type", "tenant"):
        numbers = list(counted[f"by_{name}"].items())
        for what, number in numbers[:_ROWS_MAX]:
            out.print(Text(f"  {name:<7}{number:>8}  {plain(what) or 'no message'}"), soft_wrap=True)
        if len(numbers) > _ROWS_MAX:
            rest = numbers[_ROWS_MAX:]
            out.print(Text(f"  {name:<7}{sum(number for _, number in rest):>8}  in {len(rest)} more"))


def draw_diff(out: Console, diff: Sequence[Json]) -> None:
    """What an edit changes."""
    for line in diff_lines(diff):
        out.print(line, soft_wrap=True)


def diff_lines(diff: Sequence[Json]) -> Iterator[Text]:
    """A line for each field before and after."""
    for change in diff:
        for sign, style, value in (("-", "red", change["before"]), ("+", "green", change["after"])):
            yield Text(f"  {sign} {plain(change['path'])} = {plain(json.dumps(value, ensure_ascii=False))}", style)


def draw_imported(out: Console, imported: Json, *, dry_run: bool) -> None:
    """What lines change or have changed, and which were not taken."""
    told = "would change" if dry_run else "changed"
    counts = f"{imported['changed']} letters {told}, {imported['unchanged']} stay as they are, {len(imported['refused'])} lines refused"
    out.print(counts, style="bold", highlight=False)
    for one in imported["diffs"][:_ROWS_MAX] if dry_run else ():
        out.print(Text(f"  line {one['line']}, letter {one['id']}"))
        draw_diff(out, one["diff"])
    if dry_run and imported["changed"] > min(len(imported["diffs"]), _ROWS_MAX):
        out.print("  ... and more", style="dim")
    for one in imported["refused"]:
        out.print(Text(f"  line {one['line']}: {plain(one['error'])}", "red"), soft_wrap=True)


def draw_audit(out: Console, page: Json) -> None:
    """Who did what, when and why; the newest first."""
    if not page["entries"]:
        out.print("nobody has done anything")
    for one in page["entries"]:
        about = " ".join(f"{name} {one[name]}" for name in ("letter", "replay") if one[name])
        what = f"{clock(one['at'])}  {plain(one['actor'])}  {plain(one['verb'])} {about or plain(one['filter'] or '')}"
        came_to = (plain(one["outcome"]), "red" if one["outcome"] in ("REFUSED", "FAILED") else "")
        out.print(Text.assemble(f"{what}  ", came_to), soft_wrap=True)
        why = ": ".join(plain(one[name]) for name in ("reason", "detail") if one[name])
        if why:
            out.print(Text(f"    {why}", "dim"), soft_wrap=True)
    if page["next"]:
        out.print(f"more: --cursor {page['next']}", highlight=False, style="dim", soft_wrap=True)


def _draw_refused(out: Console, acted: Json) -> None:
    for one in acted["refused"][:_ROWS_MAX]:
        out.print(Text(f"  {one['id']}  {plain(one['why'])}"), soft_wrap=True)
    if len(acted["refused"]) > _ROWS_MAX:
        out.print(f"  ... {len(acted['refused']) - _ROWS_MAX} more; --json names them", style="dim")
