"""The kinds of failure. A refusal is a reply and not here; what is neither here nor a refusal is a bug."""


class Retryable(Exception):
    """Worth another try: the same attempt may succeed in a moment."""


class Misconfigured(Exception):
    """The platform cannot start like this; the message names what is wrong and the one command or setting that mends it."""


class Outage(Exception):
    """The database or the broker cannot be reached. Nobody's fault: it costs no attempt."""
