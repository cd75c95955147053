"""What queues obey: bounds and dead lettering, as policies of the broker, which can be changed while there are messages.

One policy for the queues of all shards together, however many there are. One per queue would have the broker compare each policy with
each queue whenever one is set: five minutes for 32 shards were not enough (measured).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from contracts.addresses import DEAD_LETTERS, KINDS, dead_letter_queue, retry_queues

DELIVERIES_MAX: Final = 200
"""More often than processes die while a server is away: each death counts against everything that was in hand, none of which was tried.
A message that kills whoever handles it is found much sooner, by its mark (infra/suspects.py); this is for what dies before there is one."""
DEAD_LETTER_DELIVERIES_MAX: Final = 1_000_000_000
"""Never reached: a letter stays until the desk has taken it, however often the desk dies over it."""
QUEUE_LENGTH_MAX: Final = 1_000_000
"""Messages that a queue holds before it refuses publishers (who keep them in the outbox)."""
QUEUE_BYTES_MAX: Final = 1_000_000_000
"""As much of their bodies: one reader that is down fills its own queue, and not the disk, at which the broker would stop everybody."""
POLICY_PRIORITY: Final = 10
_OUR_POLICIES: Final = re.compile(r"[a-z]+\.(commands|replies|events)(\.\d+)?(\.dead)?|retry\.\d+\.\d+")
_SHARD: Final = re.compile(r"\.\d+(?=(\.dead)?$)")


def policies() -> dict[str, dict[str, Any]]:
    """Policy name -> body, for the broker's management API."""
    defined = {kind: _work_policy(kind) for kind in KINDS}
    defined |= {dead_letter_queue(kind): _dead_letter_policy() for kind in KINDS}
    defined |= {queue: _retry_policy(wait_ms) for queue, wait_ms in retry_queues().items()}
    return {
        name: {"pattern": policy_pattern(name), "apply-to": "queues", "priority": POLICY_PRIORITY, "definition": definition}
        for name, definition in defined.items()
    }


def policy_of(queue: str) -> str:
    """The name of the policy that this queue of ours obeys."""
    return queue if queue in retry_queues() else _SHARD.sub("", queue)


def policy_pattern(policy: str) -> str:
    """The regular expression that a policy finds its queues by, and no others."""
    if policy in retry_queues():
        return _exactly(policy)
    kind = policy.removesuffix(".dead")
    return "^" + kind.replace(".", r"\.") + r"\.(0|[1-9][0-9]*)" + policy.removeprefix(kind).replace(".", r"\.") + "$"


def is_our_policy(name: str, body: Mapping[str, Any]) -> bool:
    """Whether this release or an earlier one has set it: named as queues of ours are, for them alone, at our priority."""
    if _OUR_POLICIES.fullmatch(name) is None or body["priority"] != POLICY_PRIORITY:
        return False
    # Earlier releases had one per queue.
    return body["pattern"] in (policy_pattern(name), _exactly(name))


def _exactly(queue: str) -> str:
    return "^" + queue.replace(".", r"\.") + "$"


def _work_policy(kind: str) -> dict[str, Any]:
    # At-least-once dead lettering needs reject-publish beside it: with drop-head it silently becomes lossy.
    return {
        "dead-letter-exchange": DEAD_LETTERS,
        # What the broker itself gives up, which is rare, of all shards: whoever reads one of them can handle what is sent again there.
        "dead-letter-routing-key": f"{kind}.0",
        "dead-letter-strategy": "at-least-once",
        "delivery-limit": DELIVERIES_MAX,
        "max-length": QUEUE_LENGTH_MAX,
        "max-length-bytes": QUEUE_BYTES_MAX,
        "overflow": "reject-publish",
    }


def _dead_letter_policy() -> dict[str, Any]:
    # Nothing takes what is dropped here. RabbitMQ 4 has a delivery limit of 20 unless one is set; there is no word for none that
    # every version understands.
    return {
        "delivery-limit": DEAD_LETTER_DELIVERIES_MAX,
        "max-length": QUEUE_LENGTH_MAX,
        "max-length-bytes": QUEUE_BYTES_MAX,
        "overflow": "reject-publish",
    }


def _retry_policy(wait_ms: int) -> dict[str, Any]:
    # To the default exchange and without a routing key of its own: back to the queue that the message's own routing key names.
    return {
        "message-ttl": wait_ms,
        "dead-letter-exchange": "",
        "dead-letter-strategy": "at-least-once",
        "delivery-limit": DELIVERIES_MAX,
        "max-length": QUEUE_LENGTH_MAX,
        "max-length-bytes": QUEUE_BYTES_MAX,
        "overflow": "reject-publish",
    }
