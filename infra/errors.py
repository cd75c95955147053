"""The kinds of failure. A refusal is a reply and not here; what is neither here nor a refusal is a bug."""

import re
from typing import Final

_NUMBER: Final = re.compile(r"\[Errno -?[0-9]+\] ?")


class Retryable(Exception):
    """Worth another try: the same attempt may succeed in a moment."""


class Misconfigured(Exception):
    """The platform cannot start like this; the message names what is wrong and the one command or setting that mends it."""


class Outage(Exception):
    """The database or the broker cannot be reached. Nobody's fault: it costs no attempt."""


def in_words(error: BaseException) -> str:
    """What it says, without the system's numbers; the name of its kind if it says nothing."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return _NUMBER.sub("", str(error)) or type(error).__name__
