"""What commands ask a person before they act, and what they do when nobody is there to be asked."""

import sys
from typing import Final

import typer

from infra.cli.plainly import ERRORS

WHY: Final = "say why it is done; it is kept with your name in the audit"


def require_reason(reason: str) -> str:
    """The reason; raises typer.BadParameter if it says nothing."""
    if not reason.strip():
        raise typer.BadParameter(f"is missing: {WHY}")
    return reason


def is_somebody_there() -> bool:
    """Whether a person at a terminal could answer."""
    return bool(sys.stdin and sys.stdin.isatty())


def require_somebody(*, yes: bool) -> None:
    """Raises ValueError if nobody could answer the question that is to come."""
    if not yes and not is_somebody_there():
        raise ValueError("nobody is there to be asked, no terminal: say --yes to act without being asked, or --dry-run to look only")


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless it is answered already; ends with exit code 1 if the answer is no."""
    if not yes and not typer.confirm(question, err=True):
        ERRORS.print("nothing was done")
        raise typer.Exit(1)
