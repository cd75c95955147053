"""Waiting for an API that restarts, for what may be asked again without harm."""

import time
from collections.abc import Callable
from typing import Final

from rich.text import Text

from infra.cli.desk_client import Json, NoAnswer
from infra.cli.plainly import ERRORS

_PATIENCE_S: Final = 30.0
_AGAIN_S: Final = 1.0


def patiently(ask: Callable[[], Json]) -> Json:
    """The answer; while nobody answers it is asked again, so it must be safe to ask twice. Raises NoAnswer after _PATIENCE_S."""
    until = time.monotonic() + _PATIENCE_S
    told = False
    while True:
        try:
            return ask()
        except NoAnswer as error:
            if time.monotonic() >= until:
                raise
            if not told:
                told = True
                ERRORS.print(Text(f"{error}. Trying again for {_PATIENCE_S:.0f} s; Ctrl-C ends it", "yellow"), soft_wrap=True)
        time.sleep(_AGAIN_S)
