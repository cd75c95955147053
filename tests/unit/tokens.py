"""An issuer for tests: keys, key sets and tokens that are right but for what a test changes."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from contracts.values import TenantId
from infra.http.verifier import Verifier

ISSUER, AUDIENCE = "https://issuer.test", "oaas"
TENANT = TenantId(UUID("018f3a52-7c1e-7000-8000-000000000003"))
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
URL = "https://issuer.test/keys"

ES256 = ECKey.generate_key("P-256", auto_kid=True)
OTHER = ECKey.generate_key("P-256", auto_kid=True)
RS256 = RSAKey.generate_key(2048, auto_kid=True)
ED25519 = OKPKey.generate_key("Ed25519", auto_kid=True)


def key_set(*keys: Key) -> str:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]})


def claims(**changed: Any) -> dict[str, Any]:
    """Right claims, `changed` here; None leaves a claim out."""
    right = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "exp": int((NOW + timedelta(hours=1)).timestamp()),
        "tenant_id": str(TENANT),
        "scope": "orders:read orders:write",
    }
    return {name: value for name, value in {**right, **changed}.items() if value is not None}


def signed(key: Key = ES256, algorithm: str = "ES256", header: dict[str, Any] | None = None, **changed: Any) -> str:
    return jwt.encode({"alg": algorithm, "kid": key.kid, **(header or {})}, claims(**changed), key, [algorithm])


def verifier(*keys: Key, verified_max: int = 100) -> Verifier:
    return Verifier(key_set(*(keys or (ES256,))), ISSUER, AUDIENCE, verified_max=verified_max)


class Issuer:
    """A key set behind a URL that can change, fail and be counted."""

    def __init__(self, *keys: Key) -> None:
        self.keys: tuple[Key, ...] = keys
        self.asked = 0
        self.is_down = False
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def answer(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        self.was_asked.set()
        await self.may_answer.wait()
        return httpx.Response(503) if self.is_down else httpx.Response(200, text=key_set(*self.keys))

    def hold_back(self) -> None:
        """Be asked and do not answer until `may_answer` is set."""
        self.was_asked.clear()
        self.may_answer.clear()

    def verifier(self) -> Verifier:
        return Verifier(URL, ISSUER, AUDIENCE, transport=httpx.MockTransport(self.answer))
