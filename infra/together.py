"""Works that are done side by side, so that what they ask of the database at the same time makes one round trip.

They are begun in their order and go on in that order after each round trip. What they lock, they lock in one order with whoever else
works so, as long as each kind of rows is always locked in the same round trip.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What each comes to, in their order. Raises the first failure once all others have been cancelled."""
    if len(works) == 1:
        return [await works[0]]
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
