"""What came of draining and loading, in words."""

from pathlib import Path

from rich.console import Console

from infra.cli.desk_drawing import plain
from infra.drain.drain import Drainage
from infra.drain.load import Loading


def draw_drainage(out: Console, drainage: Drainage, to: Path) -> None:
    """How many letters were taken from where, and what to do with them."""
    out.print(f"{drainage.total} letters are in {to}", highlight=False, style="bold", soft_wrap=True)
    for queue, count in drainage.taken.items():
        out.print(f"  {count:>8}  {queue}", highlight=False)
    if drainage.left:
        out.print(f"{sum(drainage.left.values())} more have come meanwhile: run it again", highlight=False)
    if drainage.total:
        out.print(f"when the database is back: oaas dead-letters load {to}", highlight=False, soft_wrap=True)


def draw_loading(out: Console, loading: Loading, file: Path) -> None:
    """How many letters were sent, and which lines were not."""
    out.print(f"{loading.sent} letters are back in their queues", highlight=False, style="bold")
    for number, why in sorted(loading.bad.items()):
        out.print(f"{file}, line {number}: {plain(why)}", highlight=False, markup=False, soft_wrap=True)
