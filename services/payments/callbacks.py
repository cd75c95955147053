"""The signature under a payment provider's callback: HMAC-SHA256 of its time and body, so that nobody else can wake us or replay it.

Signature: t=1795426215,v1=5f2c...       v1 is over "1795426215." and the body, as bytes
"""

import hashlib
import hmac
import re
from datetime import datetime
from typing import Final

from pydantic import SecretStr

AGE_MAX_S: Final = 300
"""A callback signed longer ago, or further ahead, is not taken."""
_FORM: Final = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def sign(secret: SecretStr, body: bytes, at: datetime) -> str:
    """The header's value for this body at this time."""
    seconds = int(at.timestamp())
    return f"t={seconds},v1={_digest(secret, seconds, body)}"


def is_signed(secret: SecretStr, body: bytes, signature: str, at: datetime) -> bool:
    """Whether whoever knows the secret has signed this body, not long before `at`. Nobody has if there is no secret."""
    given = _FORM.fullmatch(signature)
    if given is None or not secret.get_secret_value():
        return False
    seconds = int(given[1])
    # Compared in constant time, or the digest could be guessed byte by byte.
    is_ours = hmac.compare_digest(given[2], _digest(secret, seconds, body))
    return is_ours and abs(at.timestamp() - seconds) <= AGE_MAX_S


def _digest(secret: SecretStr, seconds: int, body: bytes) -> str:
    return hmac.new(secret.get_secret_value().encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
