"""What came of draining and loading, in words."""

import shlex
from pathlib import Path

from rich.console import Console

from infra.cli.desk_drawing import plain
from infra.cli.drain.drain import Drainage
from infra.cli.drain.load import Loading
from infra.cli.letters.drawing import draw_next
from infra.cli.plainly import counted


def draw_drainage(out: Console, drainage: Drainage, to: Path) -> None:
    """How many letters were taken from where, and what to do with them."""
    added = f"{counted(drainage.total, 'letter')} added to {to}, {drainage.in_file} in it now"
    out.print(added, highlight=False, markup=False, style="bold", soft_wrap=True)
    for queue, count in drainage.taken.items():
        out.print(f"  {count:>8}  {queue}", highlight=False)
    if drainage.left:
        out.print(f"{counted(sum(drainage.left.values()), 'letter')} more came meanwhile: run it again", highlight=False)
    if drainage.in_file:
        draw_next(out, {f"oaas dead-letters load {shlex.quote(str(to))}": "when the database is back"})


def draw_loading(out: Console, loading: Loading, file: Path) -> None:
    """How many letters were sent, and which lines were not."""
    out.print(f"{counted(loading.sent, 'letter')} back in the queues", highlight=False, style="bold")
    for number, why in sorted(loading.bad.items()):
        out.print(f"{file}, line {number}: {plain(why)}", highlight=False, markup=False, soft_wrap=True)
