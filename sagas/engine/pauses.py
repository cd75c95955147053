"""How long to wait before asking again: growing, bounded, and spread, so that what failed together does not come back together."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from sagas.engine.definition import Retry

SHORTENED_AT_MOST: Final = 0.2
"""By how much of its length a pause may be shorter."""
_EXPONENT_MAX: Final = 64
"""Where growing stops to be computed; every bound is reached long before."""


def pause_before_retry(retry: Retry, attempts: int, command: UUID) -> timedelta:
    """The pause after that many tries of a command that a policy gives another one."""
    return _spread(_grown(retry.first, retry.factor, attempts - 1, retry.longest), attempts, command)


def wait_for_answer(within: timedelta, attempts: int, longest: timedelta, command: UUID) -> timedelta:
    """How long the next try of what must be answered has, after that many: doubled each time, never shorter than `within`."""
    return max(within, _spread(_grown(within, 2.0, attempts, max(within, longest)), attempts, command))


def _grown(first: timedelta, factor: float, times: int, longest: timedelta) -> timedelta:
    return min(first.total_seconds() * factor ** min(times, _EXPONENT_MAX), longest.total_seconds()) * timedelta(seconds=1)


def _spread(pause: timedelta, attempts: int, command: UUID) -> timedelta:
    # From the command's id, not from chance: the machine decides the same each time it is asked, and history can be replayed.
    part = ((command.int >> (attempts % 96)) & 0xFFFF) / 0xFFFF
    return pause * (1 - SHORTENED_AT_MOST * part)
