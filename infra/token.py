"""Development tokens: a key of our own made on first run, and tokens signed with it. Production brings its own issuer."""

import json
import os
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from joserfc import jwt
from joserfc.jwk import ECKey

from infra.clock import now
from infra.errors import Misconfigured
from infra.http.auth import SCOPES
from infra.settings import Settings

_ALGORITHM: Final = "ES256"
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LIFETIME: Final = re.compile(r"(?P<number>[0-9]{1,7})(?P<unit>[smhd])")
LIFETIME_MAX: Final = timedelta(days=365)
DEVELOPER: Final = "developer"
"""Whom a token is for, if nobody is named."""
_SUBJECT_CHARACTERS_MAX: Final = 255
_VISIBLE: Final = re.compile("[!-~]+")
_OPERATORS_LIFETIME: Final = timedelta(hours=1)
_PRIVATE: Final = "private.json"
_PUBLIC: Final = "jwks.json"


class UnknownScope(LookupError):
    """A scope that no route asks for."""

    def __init__(self, unknown: Sequence[str]) -> None:
        super().__init__(f"unknown scope {', '.join(unknown)}: the scopes are {' '.join(SCOPES)}")
        self.unknown = tuple(unknown)


def token(settings: Settings, *, tenant: str | None, scope: str, ttl: str, subject: str = DEVELOPER) -> dict[str, Any]:
    """What `oaas token` prints: the token, until when it is valid, for whom and for what.

    `tenant` is a UUID, `scope` space-separated, `ttl` a number of s, m, h or d, `subject` who acts with it, as histories and the audit
    name them; raises Misconfigured or UnknownScope.
    """
    at = now()
    tenant_id, lifetime, scopes, subject = _uuid(tenant), _lifetime(ttl), scope.split(), _subject(subject)
    names = {"issuer": settings.issuer, "audience": settings.audience, "subject": subject}
    issued = issue(settings.home, at, tenant_id=tenant_id, scopes=scopes, lifetime=lifetime, **names)
    expires_at = (at + lifetime).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"token": issued, "subject": subject, "tenant": tenant, "scope": " ".join(scopes), "expires_at": expires_at}


def operators_token(settings: Settings, subject: str) -> str:
    """OAAS_TOKEN if it is set, else a token with the scope ops from this home's development key; raises Misconfigured if there is none."""
    if given := settings.token.get_secret_value():
        # It is a secret even if it is none of ours: what is wrong with it is said without it.
        if _VISIBLE.fullmatch(given) is None:
            raise Misconfigured(
                "OAAS_TOKEN is no token: one is letters, digits, dots, dashes and underscores, without spaces and line ends"
            )
        return given
    if not (settings.home / "keys" / _PRIVATE).is_file():
        raise Misconfigured("no token: set OAAS_TOKEN to one with the scope ops; there is no development key in this home to make one from")
    names = {"issuer": settings.issuer, "audience": settings.audience}
    return issue(settings.home, now(), tenant_id=None, scopes=["ops"], lifetime=_OPERATORS_LIFETIME, subject=subject, **names)


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
    subject: str = DEVELOPER,
) -> str:
    """A token for these scopes, valid from `at` for `lifetime`; raises UnknownScope. Without a tenant it serves administrators only."""
    if not scopes:
        raise ValueError(f"a token without a scope may do nothing: name some of {' '.join(SCOPES)}")
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


def _uuid(tenant: str | None) -> UUID | None:
    try:
        return UUID(tenant) if tenant is not None else None
    except ValueError:
        raise Misconfigured(f"--tenant {tenant!r} is no tenant id: a UUID, as POST /v1/tenants answers it") from None


def _subject(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable() or len(name) > _SUBJECT_CHARACTERS_MAX:
        raise Misconfigured(f"--subject is a name of 1 to {_SUBJECT_CHARACTERS_MAX} letters, digits, signs and spaces")
    return name


def _lifetime(ttl: str) -> timedelta:
    found = _LIFETIME.fullmatch(ttl)
    lifetime = timedelta(**{_UNITS[found["unit"]]: int(found["number"])}) if found else timedelta()
    if not timedelta() < lifetime <= LIFETIME_MAX:
        raise Misconfigured(f"--ttl {ttl!r} is no lifetime: write 30s, 15m, 1h or 7d, at most {LIFETIME_MAX.days}d")
    return lifetime


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
