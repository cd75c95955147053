"""The issuer's keys: fetched once, fetched again when they may have changed, and served on when the issuer is down."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from infra.errors import Outage
from infra.http.keys import COOL_DOWN, FIRST_COOL_DOWN, REFRESH_AFTER
from infra.http.verifier import InvalidToken, Verifier
from tests.unit.tokens import AUDIENCE, ES256, ISSUER, NOW, OTHER, Issuer, key_set, signed


async def test_fifty_first_requests_fetch_the_keys_once() -> None:
    issuer = Issuer(ES256)
    issuer.hold_back()
    verifier = issuer.verifier()
    waiting = [asyncio.create_task(verifier.verify(signed(), NOW)) for _ in range(50)]
    await issuer.was_asked.wait()
    issuer.may_answer.set()
    assert len(await asyncio.gather(*waiting)) == 50
    assert issuer.asked == 1


async def test_a_new_key_is_found_by_the_first_token_it_signed() -> None:
    issuer = Issuer(ES256)
    verifier = issuer.verifier()
    await verifier.verify(signed(), NOW)
    issuer.keys = (ES256, OTHER)
    assert await verifier.verify(signed(OTHER), NOW + timedelta(seconds=1))
    assert issuer.asked == 2


async def test_tokens_with_invented_key_ids_do_not_hammer_the_issuer() -> None:
    issuer = Issuer(ES256)
    verifier = issuer.verifier()
    for second in range(20):
        with pytest.raises(InvalidToken, match="no key of its issuer"):
            await verifier.verify(signed(OTHER), NOW + timedelta(seconds=second))
    assert issuer.asked == 2
    with pytest.raises(InvalidToken):
        await verifier.verify(signed(OTHER), NOW + COOL_DOWN)
    assert issuer.asked == 3


async def test_a_withdrawn_key_stops_working_even_for_tokens_that_were_verified_before() -> None:
    issuer = Issuer(ES256)
    verifier = issuer.verifier()
    token = signed()
    await verifier.verify(token, NOW)
    issuer.keys = (OTHER,)
    assert await verifier.verify(token, NOW + REFRESH_AFTER - timedelta(seconds=1))
    with pytest.raises(InvalidToken, match="no key of its issuer"):
        await verifier.verify(token, NOW + REFRESH_AFTER)


async def test_stale_keys_serve_while_the_issuer_is_down() -> None:
    issuer = Issuer(ES256)
    verifier = issuer.verifier()
    await verifier.verify(signed(), NOW)
    issuer.is_down = True
    for number in range(5):
        assert await verifier.verify(signed(sub=str(number)), NOW + REFRESH_AFTER)
    assert issuer.asked == 2


async def test_while_one_request_fetches_newer_keys_the_others_are_served_with_the_old() -> None:
    issuer = Issuer(ES256)
    verifier = issuer.verifier()
    await verifier.verify(signed(), NOW)
    issuer.hold_back()
    slow = asyncio.create_task(verifier.verify(signed(), NOW + REFRESH_AFTER))
    await issuer.was_asked.wait()
    assert await verifier.verify(signed(sub="quick"), NOW + REFRESH_AFTER)
    issuer.may_answer.set()
    assert await slow


async def test_without_any_keys_it_is_an_outage_and_soon_tried_again() -> None:
    issuer = Issuer(ES256)
    issuer.is_down = True
    verifier = issuer.verifier()
    for _ in range(3):
        with pytest.raises(Outage):
            await verifier.verify(signed(), NOW)
    assert issuer.asked == 1
    issuer.is_down = False
    assert await verifier.verify(signed(), NOW + FIRST_COOL_DOWN)


async def test_a_request_that_is_cancelled_while_it_fetches_leaves_the_fetch_to_the_next() -> None:
    issuer = Issuer(ES256)
    issuer.hold_back()
    verifier = issuer.verifier()
    first, second = (asyncio.create_task(verifier.verify(signed(), NOW)) for _ in range(2))
    await issuer.was_asked.wait()
    first.cancel()
    issuer.may_answer.set()
    assert (await second).subject == "ada"
    assert issuer.asked == 2


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"keys": []}', '{"keys": {}}', '{"keys": [{"kty": "EC"}]}', '{"keys": [1]}', "<html>"]
)
async def test_a_source_that_is_no_key_set_is_an_outage_not_a_crash(text: str, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(text)
    with pytest.raises(Outage):
        await Verifier(str(path), ISSUER, AUDIENCE).verify(signed(), NOW)


async def test_a_key_type_from_the_future_does_not_spoil_the_set() -> None:
    published = json.loads(key_set(ES256))
    published["keys"].insert(0, {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"})
    assert await Verifier(json.dumps(published), ISSUER, AUDIENCE).verify(signed(), NOW)


async def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(key_set(ES256))
    assert await Verifier(str(path), ISSUER, AUDIENCE).verify(signed(), NOW)
