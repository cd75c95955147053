"""Times in words, for people."""

from datetime import datetime, timedelta


def span(length: timedelta) -> str:
    """How long, to the two largest units: `1 h 3 min`."""
    seconds = int(abs(length).total_seconds())
    if seconds < 1:
        return f"{abs(length) // timedelta(milliseconds=1)} ms"
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if seconds >= size:
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
    return " ".join(parts[:2])


def when(at: datetime, now: datetime) -> str:
    """`12:00:03Z (5 s ago)`, with the day if it is another."""
    shown = at.strftime("%H:%M:%SZ" if at.date() == now.date() else "%Y-%m-%d %H:%M:%SZ")
    return f"{shown} ({span(now - at)} ago)" if at <= now else f"{shown} (in {span(at - now)})"
