"""Development tokens: a key of our own made on first run, and tokens signed with it. Production brings its own issuer."""

import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from joserfc import jwt
from joserfc.jwk import ECKey

from infra.auth import SCOPES

_ALGORITHM: Final = "ES256"
_PRIVATE: Final = "private.json"
_PUBLIC: Final = "jwks.json"


class UnknownScope(ValueError):
    """A scope that no route asks for."""

    def __init__(self, unknown: Sequence[str]) -> None:
        super().__init__(f"unknown scope {', '.join(unknown)}: the scopes are {' '.join(SCOPES)}")
        self.unknown = tuple(unknown)


def ensure_development_key(home: Path) -> Path:
    """The key set `<home>/keys/jwks.json`, for OAAS_JWKS; it and its private key are made if they are not there yet."""
    folder = home / "keys"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    private, public = folder / _PRIVATE, folder / _PUBLIC
    if not private.exists():
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": _ALGORITHM}, auto_kid=True)
        _write_once(private, json.dumps(key.as_dict(private=True)))
    # Written anew from the key that won, so that two first runs at once agree.
    key_set = json.dumps({"keys": [_private_key(private).as_dict(private=False)]}, indent=2) + "\n"
    if not public.exists() or public.read_text(encoding="utf-8") != key_set:
        fresh = public.with_name(f".{_PUBLIC}.{os.getpid()}")
        fresh.write_text(key_set, encoding="utf-8")
        fresh.replace(public)
    return public


def issue(
    home: Path,
    at: datetime,
    *,
    tenant_id: UUID | None,
    scopes: Sequence[str],
    lifetime: timedelta,
    issuer: str,
    audience: str,
    subject: str = "developer",
) -> str:
    """A token for these scopes, valid from `at` for `lifetime`; raises UnknownScope. Without a tenant it serves administrators only."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise UnknownScope(unknown)
    ensure_development_key(home)
    key = _private_key(home / "keys" / _PRIVATE)
    issued_at = int(at.timestamp())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + int(lifetime.total_seconds()),
        "scope": " ".join(scopes),
    }
    if tenant_id is not None:
        claims["tenant_id"] = str(tenant_id)
    return jwt.encode({"alg": _ALGORITHM, "kid": key.kid}, claims, key, [_ALGORITHM])


def _private_key(path: Path) -> ECKey:
    return ECKey.import_key(json.loads(path.read_text(encoding="utf-8")))


def _write_once(path: Path, content: str) -> None:
    """Write the file for its owner only, whole or not at all; one that is there already stays."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    try:
        os.link(fresh, path)
    except FileExistsError:
        return
    finally:
        fresh.unlink()
