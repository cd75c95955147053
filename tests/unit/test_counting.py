"""The bar of commands that take a while: on a terminal, once it has taken a while, and gone at the end."""

from io import StringIO

from rich.console import Console

from infra.cli.counting import Counting


def bar(*, after_s: float, is_terminal: bool = True) -> str:
    """What was written while three of ten letters were done."""
    out = Console(file=StringIO(), force_terminal=is_terminal, width=80)
    with Counting(out, "replay", after_s) as counting:
        counting.told(3, 10)
        counting.told(3, 10, "replay, 1 failed")
        counting._bar.refresh()
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


def test_it_says_what_is_done_of_how_many() -> None:
    shown = bar(after_s=-1)
    assert all(told in shown for told in ("3/10", "replay, 1 failed")), shown


def test_nothing_is_shown_of_what_is_quick_nor_where_nobody_looks() -> None:
    assert bar(after_s=60) == ""
    assert "\x1b" not in bar(after_s=-1, is_terminal=False)
