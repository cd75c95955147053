"""A run told as people read it: seconds since the start, then what happened, in the words of the timeline."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from sagas.engine.history import Entry
from sagas.engine.narrative import sentence

Noise = tuple[datetime, int, str]
"""When, after how many facts of the history, and what happened on the network or at a participant."""


def told(history: Sequence[Entry], noise: Iterable[Noise] = ()) -> Iterator[str]:
    """The history, and between its facts what it cannot know."""
    begun = history[0].at
    facts = [(number, 1, entry.at, _words(entry)) for number, entry in enumerate(history)]
    others = [(after, 0, at, f"    ({text})") for at, after, text in noise]
    # Stable: what happened after the same fact stays in its order.
    for _, _, at, text in sorted([*others, *facts], key=lambda line: line[:2]):
        yield f"  {(at - begun).total_seconds():10.1f} s  {text}"


def _words(entry: Entry) -> str:
    return sentence(
        entry.kind,
        step=entry.step,
        phase=entry.phase,
        attempt=entry.attempt,
        detail=entry.detail,
        actor=entry.actor,
        reason=entry.reason,
    )
