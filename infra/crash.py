"""Named points at which a process can be made to kill itself, so that tests and the demonstration can crash it exactly there.

`OAAS_CRASH_AT=sagas:committed` kills the process of `sagas` between a commit and the publishing of what it decided.
Points, in the order in which a message meets them, are in POINTS; `intent` and `called` are before and after a call to somebody outside.
"""

import os
import signal
from typing import Final

POINTS: Final = ("consume", "inbox", "save", "outbox", "commit", "committed", "publish", "confirmed", "ack", "intent", "called")

_CHOSEN: Final = os.environ.get("OAAS_CRASH_AT", "")


def crash_point(service: str, point: str) -> None:
    """Die here, as if the machine had lost power, if this is the point that OAAS_CRASH_AT names."""
    if _CHOSEN and f"{service}:{point}" == _CHOSEN:
        os.kill(os.getpid(), signal.SIGKILL)
