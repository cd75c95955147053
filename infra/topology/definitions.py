"""contracts/addresses.py as RabbitMQ reads it: a definitions file, which a node loads when it boots.

The committed copy is infra/deploy/rabbitmq/definitions.json; a test keeps it equal. It has no users: those are each server's own. A node
that loads definitions makes no default user, so whoever configures a node gives it a user in a second file, or in the same.
"""

import base64
import hashlib
from typing import Any, Final

from contracts import addresses
from contracts.policies import policies

VHOST: Final = "/"
_EVERYTHING: Final = {"configure": ".*", "write": ".*", "read": ".*"}


def definitions(shards: int = addresses.SHARDS) -> dict[str, Any]:
    """Exchanges, queues with their type only, bindings and policies, of the virtual host `/`."""
    here = {"vhost": VHOST}
    return {
        "vhosts": [{"name": VHOST}],
        "exchanges": [{"name": name, **here, **exchange(kind)} for name, kind in addresses.exchanges().items()],
        "queues": [{"name": name, **here, **queue()} for name in addresses.queues(shards)],
        "bindings": [
            {"source": one.exchange, **here, "destination": one.queue, "destination_type": "queue"}
            | {"routing_key": one.routing_key, "arguments": {}}
            for one in addresses.bindings(shards)
        ],
        "policies": [{"name": name, **here, **body} for name, body in policies().items()],
    }


def exchange(kind: str) -> dict[str, Any]:
    """An exchange as the management API makes it."""
    return {"type": kind, "durable": True, "auto_delete": False, "internal": False, "arguments": {}}


def queue() -> dict[str, Any]:
    """A queue as the management API makes it: any argument but its type could never be changed again."""
    return {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": "quorum"}}


def with_user(name: str, password: str, shards: int = addresses.SHARDS) -> dict[str, Any]:
    """The definitions with an administrator, who may do everything in the virtual host."""
    # The same password has the same hash each time, so that what is written does not change.
    salt = hashlib.sha256(f"{name} {password}".encode()).digest()[:4]
    salted = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    user = {"name": name, "password_hash": salted, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "administrator"}
    return {"users": [user], "permissions": [{"user": name, "vhost": VHOST, **_EVERYTHING}], **definitions(shards)}
