"""The one clock. Only edges read it (routes, the consumer, timers); everything below is told what time it is."""

from datetime import UTC, datetime


def now() -> datetime:
    """The time, aware and in UTC."""
    return datetime.now(UTC)
