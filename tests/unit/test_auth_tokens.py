"""Which tokens are valid: of our issuer, for us, signed with an accepted algorithm by a published key, and in time."""

import base64
import json
import warnings
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from infra.errors import Misconfigured
from infra.http.verifier import InvalidToken, Verifier
from tests.unit.tokens import AUDIENCE, ED25519, ES256, ISSUER, NOW, OTHER, RS256, TENANT, claims, key_set, signed, verifier

SECOND = int(NOW.timestamp())


async def test_a_right_token_says_who_for_whom_and_what() -> None:
    found = await verifier().verify(signed(), NOW)
    assert (found.subject, found.tenant_id, found.scopes) == ("ada", TENANT, frozenset({"orders:read", "orders:write"}))


@pytest.mark.parametrize(("key", "algorithm"), [(RS256, "RS256"), (ES256, "ES256"), (ED25519, "EdDSA"), (ED25519, "Ed25519")])
async def test_every_accepted_algorithm_is_accepted(key: Any, algorithm: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        token = signed(key, algorithm)
    assert (await verifier(RS256, ES256, ED25519).verify(token, NOW)).subject == "ada"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"exp": None}, "needs the claims"),
        ({"exp": SECOND - 11}, "expired"),
        ({"exp": "tomorrow"}, "wrong value"),
        ({"exp": True}, "wrong value"),
        ({"nbf": SECOND + 11}, "not valid yet"),
        ({"iat": SECOND + 11}, "not valid yet"),
        ({"iss": None}, "needs the claims"),
        ({"iss": "https://evil.test"}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"aud": None}, "needs the claims"),
        ({"aud": "somebody"}, "another audience"),
        ({"aud": {"oaas": 1}}, "another audience"),
        ({"sub": None}, "needs the claims"),
        ({"sub": 5}, "wrong value"),
        ({"sub": "a\x00b"}, "printable"),
        ({"tenant_id": "t1"}, "must be a UUID"),
        ({"tenant_id": 5}, "must be a UUID"),
        ({"tenant_id": [str(TENANT)]}, "must be a UUID"),
        ({"tenant_id": "00000000-0000-0000-0000-000000000000"}, "is the nil UUID, which is no tenant's"),
        ({"scope": ["orders:read"]}, "separated by spaces"),
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused_and_says_why(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidToken, match=why):
        await verifier().verify(signed(**changed), NOW)


async def test_clocks_may_differ_by_a_few_seconds() -> None:
    for token in (signed(exp=SECOND - 9), signed(nbf=SECOND + 9), signed(iat=SECOND + 9)):
        assert await verifier().verify(token, NOW)


async def test_an_audience_may_be_one_of_several() -> None:
    assert await verifier().verify(signed(aud=["other", AUDIENCE]), NOW)


async def test_a_token_without_tenant_or_scope_is_valid_and_grants_nothing() -> None:
    found = await verifier().verify(signed(tenant_id=None, scope=None), NOW)
    assert (found.tenant_id, found.scopes) == (None, frozenset())


async def test_expiry_far_beyond_any_calendar_is_no_error() -> None:
    assert await verifier().verify(signed(exp=10**400), NOW)


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "a.b", "....", "é" * 20, "x" * 9000, "e30.e30.", "bnVsbA.e30.e30"])
async def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        await verifier().verify(token, NOW)


async def test_a_token_that_says_it_needs_no_signature_is_refused() -> None:
    header, body = (part(json.dumps(told)) for told in ({"alg": "none"}, claims()))
    for token in (f"{header}.{body}.", f"{header}.{body}.e30"):
        with pytest.raises(InvalidToken, match="algorithm is not accepted"):
            await verifier().verify(token, NOW)


async def test_a_public_key_is_never_a_shared_secret() -> None:
    # The oldest attack: sign with HS256 and the published key as its secret.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        secret = OctKey.import_key(json.dumps(ES256.as_dict(private=False)).encode())
    forged = jwt.encode({"alg": "HS256", "kid": ES256.kid}, claims(), secret, ["HS256"])
    with pytest.raises(InvalidToken, match="algorithm is not accepted"):
        await verifier().verify(forged, NOW)


async def test_a_shared_secret_that_was_published_verifies_nothing() -> None:
    secret = OctKey.generate_key(256, auto_kid=True)
    published = json.dumps({"keys": [secret.as_dict(), ES256.as_dict(private=False)]})
    forged = jwt.encode({"alg": "HS256", "kid": secret.kid}, claims(), secret, ["HS256"])
    with pytest.raises(InvalidToken):
        await Verifier(published, ISSUER, AUDIENCE).verify(forged, NOW)


async def test_another_keys_signature_under_our_key_id_is_refused() -> None:
    with pytest.raises(InvalidToken, match="signature is wrong"):
        await verifier().verify(signed(OTHER, header={"kid": ES256.kid}), NOW)


async def test_a_key_sent_along_in_the_header_is_not_believed() -> None:
    for sent in ({"jwk": OTHER.as_dict(private=False)}, {"jku": "https://evil.test/keys"}):
        with pytest.raises(InvalidToken):
            await verifier().verify(signed(OTHER, header=sent), NOW)


@pytest.mark.parametrize("kid", ["../../etc/passwd", "' OR 1=1 --", "\x00", "x" * 300])
async def test_a_key_id_is_only_ever_compared(kid: str) -> None:
    with pytest.raises(InvalidToken):
        await verifier().verify(signed(header={"kid": kid}), NOW)


async def test_a_changed_claim_breaks_the_signature() -> None:
    header, _, signature = signed().split(".")
    with pytest.raises(InvalidToken, match="signature is wrong"):
        await verifier().verify(f"{header}.{part(json.dumps(claims(scope='ops')))}.{signature}", NOW)


async def test_what_is_said_about_a_wrong_token_repeats_nothing_of_it() -> None:
    with pytest.raises(InvalidToken) as told:
        await verifier().verify(signed(iss="https://canary.test", tenant_id="canary", sub="canary"), NOW)
    assert "canary" not in str(told.value)


async def test_a_verified_token_is_remembered_until_it_expires() -> None:
    one = verifier()
    token = signed()
    first = await one.verify(token, NOW)
    assert await one.verify(token, NOW) is first
    with pytest.raises(InvalidToken, match="expired"):
        await one.verify(token, NOW + timedelta(hours=1, seconds=11))


async def test_only_so_many_verified_tokens_are_remembered() -> None:
    one = verifier(verified_max=2)
    tokens = [signed(sub=str(number)) for number in range(3)]
    first = await one.verify(tokens[0], NOW)
    for token in tokens[1:]:
        await one.verify(token, NOW)
    again = await one.verify(tokens[0], NOW)
    assert again == first
    assert again is not first


def test_no_key_set_is_a_misconfiguration_that_names_the_setting() -> None:
    with pytest.raises(Misconfigured, match="OAAS_JWKS"):
        Verifier(" ", ISSUER, AUDIENCE)


async def test_keys_meant_for_encryption_verify_nothing() -> None:
    published = json.loads(key_set(ES256, OTHER))
    published["keys"][0]["use"] = "enc"
    with pytest.raises(InvalidToken):
        await Verifier(json.dumps(published), ISSUER, AUDIENCE).verify(signed(), NOW)


def part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
