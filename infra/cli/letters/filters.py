"""The words that say which dead letters are meant: the same flags for every command that takes them."""

import re
import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from infra.cli.flags import flagged

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGO: Final = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhd])")


def _which(*words: str, **more: Any) -> Any:
    return typer.Option(*words, rich_help_panel="Which letters", **more)


_FLAGS: Final[Mapping[str, Any]] = {
    "fingerprint": Annotated[str | None, _which(help="its cause, all 16 characters, as `groups` lists them")],
    "queue": Annotated[str | None, _which(help="where it died, such as inventory.commands.0")],
    "service": Annotated[str | None, _which(help="whose code gave it up, such as inventory")],
    "type": Annotated[str | None, _which(help="the message's name, such as inventory.ReserveStock.v1")],
    "tenant": Annotated[str | None, _which(help="id of its tenant")],
    "saga": Annotated[str | None, _which(help="id of the saga that it belongs to")],
    "message": Annotated[str | None, _which(help="id of the message")],
    "state": Annotated[str | None, _which(help="DEAD, REPLAYING, SETTLED or ARCHIVED; left out: DEAD and REPLAYING")],
    "since": Annotated[str | None, _which(help="died at or after: 30m, 2h, 7d ago, or a time such as 2026-03-01T22:00Z")],
    "until": Annotated[str | None, _which(help="died before, written the same way")],
    "attempts_min": Annotated[int | None, _which(min=1, help="was tried at least so often")],
    "readable": Annotated[bool | None, _which("--readable/--not-readable", help="a message that can be mended, or something else")],
    "native": Annotated[bool | None, _which("--native/--not-native", help="given up by the broker (its workers died) or by our code")],
}


Ids = Annotated[
    list[UUID] | None, typer.Argument(help="letters by their ids; or leave them out and say which with filters", show_default=False)
]


def as_query(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The filters as parameters of a URL."""
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in chosen.items()}


def as_flags(chosen: Mapping[str, Any]) -> str:
    """The filters as a person types them."""
    return " ".join(_flag(name.replace("_", "-"), value) for name, value in chosen.items())


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--not-{name}"
    return f"--{name} {shlex.quote(str(value))}"


def _chosen(chosen: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in chosen.items() if value is not None}
    if "state" in found:
        found["state"] = found["state"].upper()
    for name in ("since", "until"):
        if name in found:
            found[name] = _time(name, found[name]).isoformat()
    return found


def _time(name: str, written: str) -> datetime:
    from infra.clock import now

    if ago := _AGO.fullmatch(written.strip()):
        return now() - timedelta(**{_UNITS[ago["unit"]]: int(ago["number"])})
    try:
        at = datetime.fromisoformat(written.strip())
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f"--{name} is how long ago, such as 30m, 2h or 7d, or a time with its zone, such as 2026-03-01T22:00Z")
    return at


filtered: Final = flagged(_FLAGS, _chosen)
"""A command with a flag for each filter; it is given those that were said as its first argument, as the API names them."""
