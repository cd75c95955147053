"""What operators see of dead letters in a terminal: lists, causes, and the whole story of one."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from infra.cli.desk_drawing import plain, span
from infra.cli.pages import Cells, draw_page
from infra.cli.plainly import counted

Json = Mapping[str, Any]

_COLOURS: Final[Mapping[str, str]] = {"DEAD": "bold red", "REPLAYING": "yellow", "SETTLED": "green", "ARCHIVED": "dim"}
_LIST: Final = {"letter": 0, "state": 0, "died": 0, "cause": 0, "type": 110, "queue": 140, "tries": 150, "tenant": 190}
"""Columns of the list, and how wide a terminal has to be for each: an id is never broken."""
_OTHERS: Final = re.compile(r"site-packages|/lib/python\d|<frozen|[/\\]\.venv[/\\]")
"""In the path of a file that is none of ours."""
_FRAME: Final = re.compile(r'^\s+File "(?P<file>.+)", line (?P<line>\d+), in (?P<name>.+)$')
_FRAMES_MAX: Final = 12
_PAYLOAD_LINES_MAX: Final = 60
_HISTORY_MAX: Final = 10
_COUNTED_MAX: Final = 6
_SEE_ALSO: Final = re.compile(r"\s*For further information visit https?://\S+")
"""What pydantic adds to each of its errors; it says nothing about the letter."""


def draw_letters(out: Console, page: Json, now: datetime) -> None:
    """One line per letter, the newest first."""
    if not page["letters"]:
        out.print("no letter fits")
        return
    things: list[Cells] = [
        {
            "letter": one["id"],
            "state": Text(one["state"], _COLOURS.get(one["state"], "")),
            "died": ago(one["died_at"], now),
            "cause": plain(f"{one['exception_type']} {one['fingerprint']}"),
            "type": plain(one["type"]),
            "queue": plain(one["queue"]),
            "tries": f"{one['attempts']} x, died {one['deaths']} x",
            "tenant": one["tenant"],
        }
        for one in page["letters"]
    ]
    draw_page(out, _LIST, things, page["next"], folds="cause")


def draw_groups(out: Console, found: Json, chosen: str, now: datetime, state: str | None = None) -> None:
    """The causes, the most frequent first, and what to type next. `chosen`: the filters as flags; `state`: which was asked for."""
    if not found["groups"]:
        out.print("no dead letter fits" if chosen else "no dead letters: nothing to do", style="green")
        return
    heading = f"{counted(found['total'], 'letter')}, {counted(found['causes'], 'cause')}"
    out.print(heading, style="bold", highlight=False)
    for one in sorted(found["groups"], key=lambda group: (-group["count"], group["fingerprint"])):
        out.print()
        seen = f"last {ago(one['last_seen'], now)}, first {ago(one['first_seen'], now)}"
        tenants = counted(one["tenants"], "tenant")
        out.print(Text.assemble((f"{one['count']:>7}  ", "bold red"), (plain(one["fingerprint"]), "bold"), f"  {seen}, {tenants}"))
        out.print(Text(f"         {plain(one['exception_type'])}: {_one_line(one['error'])}", "red"), no_wrap=True, overflow="ellipsis")
        out.print(Text(f"         {_counted(one['types'])} on {_counted(one['queues'])}"))
    if (more := found["causes"] - len(found["groups"])) > 0:
        out.print()
        out.print(f"  ... and {counted(more, 'more cause')}, of fewer letters; filters such as --queue narrow it down", style="dim")
    first = max(found["groups"], key=lambda group: group["count"])
    out.print()
    draw_next(out, _about(first, chosen, state))


def _about(group: Json, chosen: str, state: str | None) -> dict[str, str]:
    """What to type about the letters of a cause, as they are in this state; None: those that are open."""
    command, cause = "oaas dead-letters", f"--fingerprint {group['fingerprint']} {chosen}".strip()
    steps = {f"{command} show {group['sample']}": "one of the most frequent: what, where, why"}
    match state:
        case "ARCHIVED":
            steps[f"{command} restore {cause} --reason '...' --dry-run"] = "what taking them out of the archive would do"
        case "REPLAYING":
            steps[f"{command} replays --state RUNNING"] = "who is sending them again"
        case "SETTLED":
            steps[f"{command} list {cause}"] = "which; they are handled, there is nothing to do"
        case _:
            steps[f"{command} replay {cause} --reason '...' --dry-run"] = "what sending them again would do"
    return steps


def draw_letter(out: Console, letter: Json, now: datetime) -> None:
    """The story of one letter: what died, where and why, what it says, how its saga stands, and what can be done."""
    out.print(
        Text.assemble((f"{plain(letter['type']) or 'no message'} ", "bold"), (letter["state"], _COLOURS.get(letter["state"], "bold")))
    )
    for flag in letter["flags"]:
        out.print(Text(f"! {plain(flag)}", "yellow"))
    _facts(out, letter, now)
    out.print()
    out.print(Text(f"{plain(letter['exception_type'])}: {_one_line(letter['error'])}", "bold red"))
    for line in own_frames(letter["stack"]):
        out.print(Text(f"  {line}"), soft_wrap=True)
    _saga(out, letter["saga"])
    _payload(out, letter)
    _history(out, letter, now)
    out.print()
    draw_next(out, to_do(letter))


def to_do(letter: Json) -> dict[str, str]:
    """The commands that make sense for the letter as it stands, and what each is for."""
    id, command = letter["id"], "oaas dead-letters"
    if letter["state"] == "REPLAYING":
        return {f"{command} replays --follow {letter['replay_id']}": "it is being sent again: what comes of it"}
    if letter["state"] == "ARCHIVED":
        return {
            f"{command} restore {id} --reason '...'": "take it out of the archive",
            f"{command} purge {id} --reason '...'": "delete it for good",
        }
    if letter["state"] == "SETTLED":
        return {f"oaas why {letter['saga_id']}": "how its saga went on"} if letter["saga_id"] else {}
    found = {}
    if letter["saga_id"]:
        found[f"oaas why {letter['saga_id']}"] = "the whole story of its saga"
    found[f"{command} list --fingerprint {letter['fingerprint']}"] = "others that died of the same"
    if letter["is_readable"]:
        found[f"{command} edit {id} --reason '...'"] = "mend what it says"
        found[f"{command} replay {id} --reason '...'"] = "send it again; it asks first"
        found[f"{command} replay --fingerprint {letter['fingerprint']} --reason '...' --canary 5"] = "and all others of this cause"
    else:
        found[f"{command} replay {id} --reason '...'"] = "send it again as it came; it asks first"
    found[f"{command} archive {id} --reason '...'"] = "nobody wants it handled"
    return found


def own_frames(stack: str) -> Iterator[str]:
    """The frames of the stack that are in our code, `infra/batch.py:57 commit   the line`; its end if there is none."""
    lines = stack.splitlines()
    found = []
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        frame = _FRAME.match(line)
        if frame and not _OTHERS.search(frame["file"]):
            code = "" if _FRAME.match(following) else following.strip()
            found.append(f"{_short(frame['file'])}:{frame['line']} {frame['name']}   {code}")
    frames = found or [line for line in lines if not _SEE_ALSO.fullmatch(line)]
    if (more := len(frames) - _FRAMES_MAX) > 0:
        yield f"... {counted(more, 'line')} before; --json has all of them"
    yield from (plain(line) for line in frames[-_FRAMES_MAX:])


def ago(at: str, now: datetime) -> str:
    """`3 min 20 s ago`."""
    return f"{span(max(now - datetime.fromisoformat(at), now - now))} ago"


def clock(at: str) -> str:
    """`2026-03-01 22:14:07Z`."""
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%S}Z"


def draw_next(out: Console, commands: Mapping[str, str]) -> None:
    """What to type next, and what for."""
    if commands:
        out.print("Next", style="bold")
    for command, meaning in commands.items():
        # Commands are typed off the screen: they must not be broken.
        out.print(Text.assemble(f"  {plain(command)}", (f"   # {meaning}", "dim")), soft_wrap=True)


def _facts(out: Console, letter: Json, now: datetime) -> None:
    died = f"{clock(letter['died_at'])} ({ago(letter['died_at'], now)})"
    times = f", {letter['deaths']} times since {clock(letter['first_died_at'])}" if letter["deaths"] > 1 else ""
    native = ", by the broker: its workers died on it" if letter["is_native"] else ""
    facts = {
        "letter": f"{letter['id']}   revision {letter['revision']}",
        "died": f"{died}{times}, after {counted(letter['attempts'], 'attempt')}{native}",
        "on": f"{plain(letter['queue'])}, in {plain(letter['service'])} of build {plain(letter['build']) or 'unknown'}",
        "about": plain(letter["subject"]),
        "tenant": letter["tenant"],
        "message": letter["message_id"],
        "saga": letter["saga_id"],
        "trace": letter["trace_id"],
        "cause": plain(letter["fingerprint"]),
        "replays": f"{letter['replays_in_vain']} in vain" if letter["replays_in_vain"] else None,
    }
    for name, value in facts.items():
        if value:
            out.print(Text(f"  {name:<8}{value}"), soft_wrap=True)


def _saga(out: Console, saga: Json | None) -> None:
    if saga:
        waits = f", at {plain(saga['step'])}" if saga["step"] else ""
        why = f" ({plain(saga['why'])})" if saga["why"] else ""
        out.print()
        out.print(Text.assemble((f"Its saga {plain(saga['name'])} ", "bold"), f"is {saga['state']}{waits}{why} since {clock(saga['at'])}"))


def _payload(out: Console, letter: Json) -> None:
    body = letter["body"]
    shown = body.get("data", body) if isinstance(body, dict) else body
    text = shown if isinstance(shown, str) else json.dumps(shown, indent=2, ensure_ascii=False)
    lines = text.splitlines()
    out.print()
    out.print(Text("What it says" + (", as it was edited" if letter["revision"] else ""), "bold"))
    for line in lines[:_PAYLOAD_LINES_MAX]:
        out.print(Text(f"  {plain(line)}"), soft_wrap=True)
    if len(lines) > _PAYLOAD_LINES_MAX:
        out.print(f"  ... and {counted(len(lines) - _PAYLOAD_LINES_MAX, 'more line')}; --json has all of it", highlight=False, style="dim")


def _history(out: Console, letter: Json, now: datetime) -> None:
    if letter["revisions"]:
        out.print()
        out.print(Text("Who edited it", "bold"))
    for one in letter["revisions"][:_HISTORY_MAX]:
        out.print(Text(f"  {one['revision']}. {plain(one['actor'])}, {ago(one['at'], now)}: {plain(one['reason'])}"), soft_wrap=True)
        for change in one["diff"]:
            before, after = (plain(json.dumps(change[name], ensure_ascii=False)) for name in ("before", "after"))
            out.print(Text(f"     {plain(change['path'])}: {before} -> {after}"), soft_wrap=True)
    _more(out, letter["revision"], "revision")
    if len(letter["deaths_history"]) > 1:
        out.print()
        out.print(Text("When it died", "bold"))
        for one in letter["deaths_history"][:_HISTORY_MAX]:
            replay = f", replayed by {one['replay_id']}" if one["replay_id"] else ""
            out.print(Text(f"  {clock(one['at'])}  build {plain(one['build'])}{replay}: {_one_line(one['error'])}"), soft_wrap=True)
        _more(out, letter["deaths"], "death")


def _more(out: Console, number: int, what: str) -> None:
    if (more := number - _HISTORY_MAX) > 0:
        out.print(f"  ... and {counted(more, f'more {what}')}", highlight=False, style="dim")


def _counted(numbers: Mapping[str, int]) -> str:
    named = [f"{plain(name) or 'no message'}" + (f" ({number})" if len(numbers) > 1 else "") for name, number in numbers.items()]
    more = len(named) - _COUNTED_MAX
    return ", ".join(named[:_COUNTED_MAX]) + (f" and {more} more" if more > 0 else "")


def _one_line(text: str) -> str:
    return plain(" ".join(_SEE_ALSO.sub("", text).split()))


def _short(file: str) -> str:
    """The path from the folder of ours that it is in."""
    found = re.search(r"(?:^|/)((?:contracts|infra|sagas|services|tests)/.+)$", file)
    return found[1] if found else file
