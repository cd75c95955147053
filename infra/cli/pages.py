"""A page of a list in a terminal: one line for each thing, as many columns as there is room for, and how to see more."""

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

Cells = Mapping[str, str | Text]


def draw_page(out: Console, widths: Mapping[str, int], things: Iterable[Cells], following: str | None, *, folds: str) -> None:
    """`widths`: column -> how wide a terminal has to be for it; `folds` is the only column that may be broken."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = [name for name, width in widths.items() if out.width >= width]
    for column in columns:
        table.add_column(column, no_wrap=column != folds, overflow="fold")
    for cells in things:
        # Text, since what people and participants wrote is no markup.
        table.add_row(*(cell if isinstance(cell := cells[column], Text) else Text(cell) for column in columns))
    out.print(table)
    if following:
        out.print(f"more: --cursor {following}", highlight=False, style="dim", soft_wrap=True)
