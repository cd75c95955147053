"""Named points at which a process can be made to kill itself, so that tests and the demonstration can crash it exactly there.

`OAAS_CRASH_AT=sagas:committed` kills the process of `sagas` between a commit and the publishing of what it decided;
`sagas:committed:reply:3` the third time that a message of that kind is handled or sent there. In the order in which a message meets them:

    consume     it was delivered, nothing is done
    inbox       it is in the inbox
    save        what it changes is written: a participant's business rows, the coordinator's saga, what an API was asked for
    outbox      what it causes is in the outbox
    commit      right before the commit
    committed   right after the commit, nothing is published
    publish     right before what it caused is published
    confirmed   the broker has confirmed that, and the outbox still has it
    ack         everything is done but the ack
    intent, called   before and after a call to somebody outside
"""

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from contracts.messages import Command, Envelope, Event, Reply
from infra.outbox import Outgoing

Carried = Envelope | Outgoing
"""What is handled at a point, or sent from it."""
POINTS: Final = ("consume", "inbox", "save", "outbox", "commit", "committed", "publish", "confirmed", "ack", "intent", "called")
KINDS: Final = {"command": (Command, ".commands"), "event": (Event, ".events"), "reply": (Reply, ".replies")}


class NoSuchPoint(ValueError):
    """A crash point is <service>:<point>, or <service>:<point>:<kind>, or <service>:<point>:<kind>:<which time>."""

    def __init__(self, chosen: str) -> None:
        super().__init__(f"{chosen!r} names no crash point: write <service>:<point>[:<kind>[:<which time>]], {', '.join(POINTS)}")


@dataclass
class _Chosen:
    service: str
    point: str
    kind: str | None
    times_left: int


_chosen: _Chosen | None = None


def arm(service: str, point: str, kind: str | None = None, nth: int = 1) -> None:
    """Die the `nth` time that this service meets the point with at least one message of that kind (None: with whatever it is).

    Counts from now on and replaces what was chosen before; raises NoSuchPoint.
    """
    if point not in POINTS or not (kind is None or kind in KINDS) or nth < 1:
        raise NoSuchPoint(f"{service}:{point}:{kind}:{nth}")
    _choose(_Chosen(service, point, kind, nth))


def disarm() -> None:
    """Die nowhere."""
    _choose(None)


def _choose(chosen: _Chosen | None) -> None:
    global _chosen  # noqa: PLW0603 - one per process, and a check of one name is all that a point may cost
    _chosen = chosen


def crash_point(service: str, point: str, carried: Iterable[Carried] = ()) -> None:
    """Die here, as if the machine had lost power, if this is the point that was chosen; `carried` is what is handled or sent here."""
    if _chosen is not None and _is_it(_chosen, service, point, carried):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_it(chosen: _Chosen, service: str, point: str, carried: Iterable[Carried]) -> bool:
    if (service, point) != (chosen.service, chosen.point):
        return False
    if chosen.kind is not None and not any(_is_a(chosen.kind, one) for one in carried):
        return False
    chosen.times_left -= 1
    return chosen.times_left <= 0


def _is_a(kind: str, one: Carried) -> bool:
    known_by, ending = KINDS[kind]
    if isinstance(one, Envelope):
        return isinstance(one.data, known_by)
    # Its exchange says what it is; of what waits or is dead, the queue that it came from does.
    return one.address.exchange.endswith(ending) or one.address.routing_key.rpartition(".")[0].endswith(ending)


def _arm_as_told(told: str) -> None:
    service, _, rest = told.partition(":")
    point, _, rest = rest.partition(":")
    kind, _, nth = rest.partition(":")
    if not (nth.isdecimal() or not nth):
        raise NoSuchPoint(told)
    arm(service, point, kind or None, int(nth or 1))


if os.environ.get("OAAS_CRASH_AT"):
    _arm_as_told(os.environ["OAAS_CRASH_AT"])
