"""A bar for work that takes a while, on a terminal only."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Counting:
    """Shown once the work has taken longer than `after_s` seconds, and gone when it is done."""

    def __init__(self, out: Console, what: str, after_s: float) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=out, transient=True)
        self._task = self._bar.add_task(what, total=None)
        self._show_at = time.monotonic() + after_s
        self._shown = False

    def told(self, done: int, total: int, what: str | None = None) -> None:
        """So much of it is done by now; `what` instead of what was said of it before."""
        self._bar.update(self._task, completed=done, total=total, description=what)
        if not self._shown and time.monotonic() > self._show_at:
            self._bar.start()
            self._shown = True

    def hide(self) -> None:
        """Not shown for now: somebody is asked something."""
        if self._shown:
            self._bar.stop()
            self._shown = False

    def __enter__(self) -> "Counting":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.hide()
