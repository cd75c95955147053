"""What operators see in a terminal of what does not agree between the services."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from infra.cli.desk_drawing import plain

Json = Mapping[str, Any]


def draw_findings(out: Console, compared: Json) -> None:
    """By kind, each with since when, what mending it does, and the command for that."""
    looked = f"{compared['orders']} orders of {compared['tenants']} tenants were compared"
    for tenant in compared["cut"]:
        out.print(f"tenant {tenant} has more orders than one run looks at: those that moved last were compared", style="yellow")
    wrong = [one for one in compared["findings"] if one["accepted_by"] is None]
    accepted = len(compared["findings"]) - len(wrong)
    if not wrong:
        out.print(f"the books agree: {looked}{f', {accepted} things are accepted as they are' if accepted else ''}", style="green")
        return
    out.print(f"{len(wrong)} things are wrong: {looked}", style="bold", highlight=False)
    kinds = Counter(one["kind"] for one in wrong)
    # In the order in which they were answered: what is to be mended first comes first.
    for kind, number in kinds.items():
        out.print()
        out.print(Text.assemble((f"{number:>5}  ", "bold red"), (plain(kind), "bold")))
        for one in (one for one in wrong if one["kind"] == kind):
            about = "" if one["key"] in one["what"] else f"{plain(one['key'])}: "
            out.print(Text(f"       {about}{plain(one['what'])} (since {_clock(one['since'])})"), soft_wrap=True)
            if one["mending"]:
                out.print(Text(f"         {plain(one['mending'])}"), soft_wrap=True)
            # Commands are typed off the screen: they must not be broken.
            out.print(Text(f"         {plain(one['command'])}", "cyan"), soft_wrap=True)
            if one["accepting"] not in (None, one["command"]):
                out.print(Text.assemble((f"         {plain(one['accepting'])}", "cyan"), "  # if it is known and right"), soft_wrap=True)
    if accepted:
        out.print()
        out.print(f"{accepted} more are accepted as they are; --json has them", style="dim", highlight=False)


def draw_foreseen(out: Console, foreseen: Json) -> None:
    """What mending would do."""
    out.print(Text(plain(foreseen["mending"])), soft_wrap=True)


def question(confirm: str, key: str) -> str:
    """`cancel-order` of an order -> `Cancel order 3f2b...?`; what is about something of it names that: `Release stock of 3f2b...?`."""
    words = confirm.replace("-", " ").capitalize()
    return f"{words} {key}?" if confirm.endswith("-order") else f"{words} of {key}?"


def _clock(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%S}Z"
