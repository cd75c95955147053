"""What was answered under an Idempotency-Key: the same key and body get the same answer, another body is refused.

The row is written in the order's own transaction, so an answer is remembered exactly when its order exists. Two requests with
one key at once: the second waits at the primary key until the first has committed, and then finds its answer.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from contracts.values import OrderId
from infra.transaction import Scope

_FIND: Final = "SELECT fingerprint, answer FROM orders.idempotency WHERE tenant_id = $1 AND key = $2"

_CLAIM: Final = """
    INSERT INTO orders.idempotency (tenant_id, key, fingerprint, order_id, answer, created_at) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant_id, key) DO NOTHING"""


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


async def remembered(scope: Scope, claim: Claim) -> str | None:
    """The body that the key was answered with; None if it is new. Raises KeyReused."""
    row = await scope.connection.fetchrow(_FIND, scope.tenant_id, claim.key)
    if row is not None and row["fingerprint"] != claim.fingerprint:
        raise KeyReused(claim.key)
    return None if row is None else str(row["answer"])


async def remember(scope: Scope, claim: Claim, order_id: OrderId, answer: str) -> str:
    """Keep the answer, or get the one that a request with the same key was given just before. Raises KeyReused.

    If what comes back is not `answer`, the caller writes nothing: the other request has.
    """
    done = await scope.connection.execute(_CLAIM, scope.tenant_id, claim.key, claim.fingerprint, order_id, answer, scope.now)
    return answer if done == "INSERT 0 1" else await remembered(scope, claim) or answer
