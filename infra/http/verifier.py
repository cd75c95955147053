"""Verifies bearer tokens: JWTs of one issuer for one audience. Signatures are asymmetric only; a token without `exp` is none."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn
from uuid import UUID

import httpx
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError, MissingClaimError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from contracts.values import TenantId
from infra.http.keys import Keys

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA", "Ed25519")
LEEWAY_S: Final = 10
"""How far the issuer's clock may be off, seconds."""
VERIFIED_MAX: Final = 10_000
"""Tokens remembered as verified; the least recently used is forgotten first."""
_TOKEN_CHARACTERS_MAX: Final = 8_192
_SUBJECT_CHARACTERS_MAX: Final = 255


class InvalidToken(Exception):
    """The token is not valid; the message says why in words that may be shown to whoever sent it."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    subject: str
    tenant_id: TenantId | None
    scopes: frozenset[str]
    expires_at: float
    """Seconds since 1970."""


class Verifier:
    """Verifies tokens against the issuer's keys and remembers the verified ones until they expire or the keys change."""

    def __init__(
        self,
        jwks: str,
        issuer: str,
        audience: str,
        *,
        verified_max: int = VERIFIED_MAX,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`jwks` is a file, inline JSON or an http(s) URL, which is fetched through `transport`. Raises Misconfigured if it is empty."""
        self._keys = Keys(jwks, transport)
        self._issuer = issuer
        self._audience = audience
        self._verified_max = verified_max
        self._verified: OrderedDict[bytes, tuple[int, Claims]] = OrderedDict()

    async def verify(self, token: str, at: datetime) -> Claims:
        """What the token says; raises InvalidToken, or Outage while there are no keys to verify it with."""
        if len(token) > _TOKEN_CHARACTERS_MAX or not token.isascii():
            raise InvalidToken("it is too long or has characters that no token has")
        keys = await self._keys.current(at)
        # By digest, so that no usable token lies about in memory.
        digest = hashlib.sha256(token.encode("ascii")).digest()
        known = self._remembered(digest, at)
        if known is not None:
            return known
        try:
            decoded = _decode(token, keys)
        except InvalidKeyIdError:
            decoded = _decode_again(token, await self._keys.after_unknown_key(at))
        claims = self._claims(decoded, at)
        self._remember(digest, claims)
        return claims

    def _claims(self, claims: dict[str, Any], at: datetime) -> Claims:
        registry = JWTClaimsRegistry(
            now=int(at.timestamp()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            registry.validate(claims)
        except (ExpiredTokenError, InvalidClaimError, MissingClaimError) as error:
            _refuse(error)
        scope = claims.get("scope", "")
        if not isinstance(scope, str):
            raise InvalidToken("its claim scope must be text, scopes separated by spaces")
        if len(claims["sub"]) > _SUBJECT_CHARACTERS_MAX or not claims["sub"].isprintable():
            raise InvalidToken("its claim sub must be at most 255 printable characters")
        return Claims(claims["sub"], _tenant_id(claims), frozenset(scope.split()), float(min(claims["exp"], 1 << 53)))

    def _remembered(self, digest: bytes, at: datetime) -> Claims | None:
        generation, claims = self._verified.get(digest, (None, None))
        if claims is None:
            return None
        if generation != self._keys.generation or claims.expires_at + LEEWAY_S <= at.timestamp():
            del self._verified[digest]
            return None
        self._verified.move_to_end(digest)
        return claims

    def _remember(self, digest: bytes, claims: Claims) -> None:
        self._verified[digest] = (self._keys.generation, claims)
        if len(self._verified) > self._verified_max:
            self._verified.popitem(last=False)


class _Registry(JWSRegistry):
    """Our algorithms only. The library warns that the name EdDSA is old; issuers write it all the same."""

    def get_alg(self, name: str) -> Any:
        if name in ALGORITHMS:
            return self.algorithms[name]
        return super().get_alg(name)


# RFC 7515: header parameters that we do not know are ignored, except those named by `crit`.
_REGISTRY: Final = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


def _decode(token: str, keys: KeySet) -> dict[str, Any]:
    try:
        return jwt.decode(token, keys, registry=_REGISTRY).claims
    except InvalidKeyIdError:
        raise
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        _refuse(error)


def _decode_again(token: str, keys: KeySet) -> dict[str, Any]:
    try:
        return _decode(token, keys)
    except InvalidKeyIdError:
        raise InvalidToken("no key of its issuer has its key id and algorithm") from None


def _tenant_id(claims: Mapping[str, Any]) -> TenantId | None:
    value = claims.get("tenant_id")
    if value is None:
        return None
    try:
        tenant_id = UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise InvalidToken("its claim tenant_id must be a UUID") from None
    if not tenant_id.int:
        raise InvalidToken("its claim tenant_id is the nil UUID, which is no tenant's")
    return TenantId(tenant_id)


def _refuse(error: Exception) -> NoReturn:
    """Say what is wrong in fixed words: an error's own text may repeat what the token holds."""
    match error:
        case ExpiredTokenError():
            raise InvalidToken("it has expired: get a new one") from None
        case MissingClaimError():
            raise InvalidToken("it needs the claims iss, aud, exp and sub") from None
        case InvalidClaimError(claim="nbf" | "iat"):
            raise InvalidToken("it is not valid yet: check the clocks") from None
        case InvalidClaimError(claim="iss"):
            raise InvalidToken("another issuer made it") from None
        case InvalidClaimError(claim="aud"):
            raise InvalidToken("it is for another audience") from None
        case InvalidClaimError():
            raise InvalidToken("one of its claims has a wrong value") from None
    raise InvalidToken("it is malformed, its algorithm is not accepted or its signature is wrong") from None
