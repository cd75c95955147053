"""Garbage collection for a process that lives long: what it has loaded stays, what a batch makes goes by itself."""

import gc
from typing import Final

_ALLOCATIONS: Final = 20_000
"""Objects more than before at which the youngest are looked through: a batch of hundreds of messages makes as many, and drops them."""


def settle_down() -> None:
    """Once everything is loaded: never look through that again, and less often through the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 50)
