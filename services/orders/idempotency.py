"""What was answered under an Idempotency-Key: the same key and body get the same answer, another body is refused.

The row is written in the order's own transaction, so an answer is remembered exactly when its order exists. Two requests with
one key at once: in one group the second finds what the first is answered; in two transactions it waits at the primary key until the
first has committed, finds the row taken, begins anew and reads the answer.
"""

import hashlib
import json
from dataclasses import dataclass

from pydantic import BaseModel


class KeyReused(Exception):
    """The Idempotency-Key was used for another request before."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the Idempotency-Key {key} was used for another request before")
        self.key = key


@dataclass(frozen=True, slots=True)
class Claim:
    """A key, and the SHA-256 of the request that came with it."""

    key: str
    fingerprint: str


def claim(key: str | None, body: BaseModel) -> Claim | None:
    """The claim that a request makes; None without a key. Spacing and order of members in the body make no difference."""
    if key is None:
        return None
    # What is not given leaves no trace: a request of before a member existed is still the same request.
    canonical = json.dumps(body.model_dump(mode="json", exclude_none=True), sort_keys=True, separators=(",", ":"))
    return Claim(key, hashlib.sha256(canonical.encode()).hexdigest())
