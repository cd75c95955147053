"""`oaas token`: a key made once and kept secret, and tokens that the platform accepts."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from infra.clock import now
from infra.errors import Misconfigured
from infra.http.verifier import Verifier
from infra.settings import Settings
from infra.token import UnknownScope, ensure_development_key, token
from tests.unit.tokens import TENANT


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / ".oaas")


async def test_a_development_token_is_accepted(settings: Settings) -> None:
    issued = token(settings, tenant=str(TENANT), scope="orders:read  orders:write", ttl="15m")
    verifier = Verifier(str(ensure_development_key(settings.home)), settings.issuer, settings.audience)
    found = await verifier.verify(issued["token"], now())
    assert (found.tenant_id, found.scopes) == (TENANT, frozenset({"orders:read", "orders:write"}))
    assert timedelta(minutes=14).total_seconds() < found.expires_at - now().timestamp() <= timedelta(minutes=15).total_seconds()
    assert issued["expires_at"].endswith("Z")


def test_the_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    public = ensure_development_key(tmp_path)
    private = public.with_name("private.json")
    first = private.read_bytes()
    assert ensure_development_key(tmp_path) == public
    assert private.read_bytes() == first
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in public.parent.iterdir()) == ["jwks.json", "private.json"]


def test_the_published_key_set_holds_no_private_part(tmp_path: Path) -> None:
    (key,) = json.loads(ensure_development_key(tmp_path).read_text())["keys"]
    assert "d" not in key
    assert (key["use"], key["alg"]) == ("sig", "ES256")
    assert key["kid"]


def test_an_unknown_scope_is_refused_naming_those_there_are(settings: Settings) -> None:
    with pytest.raises(UnknownScope, match=r"unknown scope order:read: the scopes are orders:read .* ops"):
        token(settings, tenant=str(TENANT), scope="order:read ops", ttl="1h")
    assert not settings.home.exists()


@pytest.mark.parametrize("ttl", ["", "1", "h", "0s", "-1h", "1.5h", "1 h", "366d", "9999999d", "١h"])
def test_a_lifetime_that_is_none_is_refused_with_examples(settings: Settings, ttl: str) -> None:
    with pytest.raises(Misconfigured, match="write 30s, 15m, 1h or 7d"):
        token(settings, tenant=None, scope="ops", ttl=ttl)


async def test_a_token_is_for_whom_it_names_and_for_the_developer_otherwise(settings: Settings) -> None:
    verifier = Verifier(str(ensure_development_key(settings.home)), settings.issuer, settings.audience)
    for given, name in (({}, "developer"), ({"subject": " Ada Lovelace "}, "Ada Lovelace")):
        issued = token(settings, tenant=None, scope="ops", ttl="1h", **given)
        assert ((await verifier.verify(issued["token"], now())).subject, issued["subject"]) == (name, name)


@pytest.mark.parametrize("subject", ["", "  ", "two\nlines", "x" * 256])
def test_a_subject_that_is_no_name_is_refused(settings: Settings, subject: str) -> None:
    with pytest.raises(Misconfigured, match="--subject is a name"):
        token(settings, tenant=None, scope="ops", ttl="1h", subject=subject)


def test_a_tenant_that_is_no_uuid_is_refused(settings: Settings) -> None:
    with pytest.raises(Misconfigured, match="is no tenant id"):
        token(settings, tenant="acme", scope="ops", ttl="1h")
