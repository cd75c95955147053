"""Shops, products and stock over HTTP, on the real database."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic_core import from_json

from infra.settings import Settings
from services.inventory.main import SERVICE
from tests.integration.serving import Api, serving

PIE = {
    "sku": "PIE",
    "name": "Pie",
    "price_pence": 350,
    "vat_rate": "ZERO",
    "allergens": ["GLUTEN", "EGGS", "GLUTEN"],
    "ingredients": ["flour", "egg"],
}


@pytest.fixture
async def api(settings: Settings, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(SERVICE, settings, tmp_path) as api:
        yield api


@pytest.fixture
def writer(api: Api) -> dict[str, str]:
    return api.token("catalog:read", "catalog:write", tenant_id=uuid4())


async def a_shop(api: Api, who: dict[str, str], name: str = "Corner shop") -> str:
    answer = await api.call("POST", "/v1/shops", who, {"name": name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def said(api: Api) -> list[dict[str, Any]]:
    return [from_json(one.body) for one in api.published]


async def test_an_opened_shop_is_found_again_and_announced(api: Api, writer: dict[str, str]) -> None:
    answer = await api.call("POST", "/v1/shops", writer, {"name": "  Corner shop "})
    shop = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/shops/{shop['id']}"
    expected = {"id": shop["id"], "name": "Corner shop", "accepts_by_hand": False}
    assert (await api.call("GET", answer.headers["Location"], writer)).json() == shop == expected
    [event] = said(api)
    assert event["type"] == "inventory.ShopOpened.v1"
    assert event["data"] == {"shop_id": shop["id"], "name": "Corner shop", "accepts_by_hand": False}
    assert (event["subject"], event["sequence"]) == (shop["id"], 1)


async def test_a_shop_that_accepts_by_hand_says_so(api: Api, writer: dict[str, str]) -> None:
    shop = (await api.call("POST", "/v1/shops", writer, {"name": "Cake maker", "accepts_by_hand": True})).json()
    assert shop["accepts_by_hand"]
    assert (await api.call("GET", "/v1/shops", writer)).json()["items"] == [shop]
    [event] = said(api)
    assert event["data"] == {"shop_id": shop["id"], "name": "Cake maker", "accepts_by_hand": True}


@pytest.mark.parametrize("wrong", ["yes", 1, None])
async def test_whether_a_shop_accepts_by_hand_is_yes_or_no(api: Api, writer: dict[str, str], wrong: object) -> None:
    refused = await api.call("POST", "/v1/shops", writer, {"name": "Cake maker", "accepts_by_hand": wrong})
    assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, ["accepts_by_hand"])


async def test_shops_are_listed_page_by_page_newest_first(api: Api, writer: dict[str, str]) -> None:
    opened = [await a_shop(api, writer, f"Shop {number}") for number in range(5)]
    seen, path = [], "/v1/shops?limit=2"
    while path:
        page = (await api.call("GET", path, writer)).json()
        seen += [shop["id"] for shop in page["items"]]
        path = f"/v1/shops?limit=2&cursor={page['next']}" if page["next"] else ""
    assert seen == opened[::-1]


async def test_a_listed_product_is_found_again_and_announced(api: Api, writer: dict[str, str]) -> None:
    answer = await api.call("POST", "/v1/products", writer, PIE)
    assert answer.status_code == 201, answer.text
    product = answer.json()
    assert product | PIE | {"allergens": ["GLUTEN", "EGGS"], "version": 1} == product
    assert (await api.call("GET", answer.headers["Location"], writer)).json() == product
    [event] = said(api)
    assert event["data"]["version"] == event["sequence"] == 1
    assert event["data"]["allergens"] == ["GLUTEN", "EGGS"]


async def test_a_sku_listed_twice_is_told_how_to_change_it(api: Api, writer: dict[str, str]) -> None:
    await api.call("POST", "/v1/products", writer, PIE)
    answer = await api.call("POST", "/v1/products", writer, PIE | {"price_pence": 1})
    assert answer.status_code == 409
    assert "PUT /v1/products/PIE" in answer.json()["detail"]
    assert (await api.call("GET", "/v1/products/PIE", writer)).json()["price_pence"] == 350
    assert len(said(api)) == 1


async def test_a_changed_product_is_a_new_version(api: Api, writer: dict[str, str]) -> None:
    await api.call("POST", "/v1/products", writer, PIE)
    details = {"name": "Big pie", "price_pence": 500, "vat_rate": "STANDARD"}
    answer = await api.call("PUT", "/v1/products/PIE", writer, details)
    assert answer.status_code == 200, answer.text
    assert answer.json() | details | {"version": 2, "allergens": [], "ingredients": []} == answer.json()
    assert (await api.call("GET", "/v1/products/PIE", writer)).json() == answer.json()
    assert [event["sequence"] for event in said(api)] == [1, 2]


async def test_a_product_that_was_never_listed_cannot_be_changed(api: Api, writer: dict[str, str]) -> None:
    answer = await api.call("PUT", "/v1/products/PIE", writer, {"name": "Pie", "price_pence": 1, "vat_rate": "ZERO"})
    assert answer.status_code == 404
    assert "PIE" in answer.json()["detail"]


async def test_products_are_listed_by_sku_page_by_page(api: Api, writer: dict[str, str]) -> None:
    for sku in ("C", "A", "B"):
        await api.call("POST", "/v1/products", writer, PIE | {"sku": sku})
    first = (await api.call("GET", "/v1/products?limit=2", writer)).json()
    second = (await api.call("GET", f"/v1/products?limit=2&cursor={first['next']}", writer)).json()
    assert [product["sku"] for page in (first, second) for product in page["items"]] == ["A", "B", "C"]
    assert second["next"] is None


async def test_counted_stock_is_found_again(api: Api, writer: dict[str, str]) -> None:
    shop = await a_shop(api, writer)
    await api.call("POST", "/v1/products", writer, PIE)
    path = f"/v1/shops/{shop}/stock/PIE"
    assert (await api.call("GET", path, writer)).json()["available"] == 0
    for available in (10, 4, 7):
        answer = await api.call("PUT", path, writer, {"available": available})
        assert answer.status_code == 200, answer.text
        level = {"shop_id": shop, "sku": "PIE", "available": available, "held": 0, "consumed": 0, "received": available}
        assert answer.json() == level == (await api.call("GET", path, writer)).json()
    page = (await api.call("GET", f"/v1/shops/{shop}/stock", writer)).json()
    assert page == {"items": [level], "next": None}


async def test_stock_of_an_unknown_shop_or_product_is_not_found_and_says_which(api: Api, writer: dict[str, str]) -> None:
    shop, nowhere = await a_shop(api, writer), uuid4()
    answer = await api.call("PUT", f"/v1/shops/{shop}/stock/PIE", writer, {"available": 1})
    assert answer.status_code == 404
    assert "PIE" in answer.json()["detail"]
    answer = await api.call("PUT", f"/v1/shops/{nowhere}/stock/PIE", writer, {"available": 1})
    assert answer.status_code == 404
    assert str(nowhere) in answer.json()["detail"]


async def test_another_tenants_things_answer_like_unknown_ones(api: Api, writer: dict[str, str]) -> None:
    shop = await a_shop(api, writer)
    await api.call("POST", "/v1/products", writer, PIE)
    stranger = api.token("catalog:read", "catalog:write", tenant_id=uuid4())
    for path in (f"/v1/shops/{shop}", "/v1/products/PIE", f"/v1/shops/{shop}/stock", f"/v1/shops/{shop}/stock/PIE"):
        answer = await api.call("GET", path, stranger)
        assert answer.status_code == 404, path
    assert (await api.call("GET", "/v1/shops", stranger)).json() == {"items": [], "next": None}
    # The same SKU is a stranger's own product.
    assert (await api.call("POST", "/v1/products", stranger, PIE)).status_code == 201


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"sku": "no spaces"}, "sku"),
        ({"name": "  "}, "name"),
        ({"price_pence": -1}, "price_pence"),
        ({"price_pence": 3.5}, "price_pence"),
        ({"price_pence": "350"}, "price_pence"),
        ({"price_pence": True}, "price_pence"),
        ({"vat_rate": "HALF"}, "vat_rate"),
        ({"allergens": ["MUD"]}, "allergens[0]"),
        ({"ingredients": [""]}, "ingredients[0]"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, writer: dict[str, str], wrong: dict[str, Any], field: str) -> None:
    answer = await api.call("POST", "/v1/products", writer, PIE | wrong)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_reading_is_not_writing(api: Api) -> None:
    reader = api.token("catalog:read", tenant_id=uuid4())
    assert (await api.call("GET", "/v1/shops", reader)).status_code == 200
    for verb, path in (("POST", "/v1/shops"), ("POST", "/v1/products"), ("PUT", "/v1/products/PIE")):
        assert (await api.call(verb, path, reader, {})).status_code == 403
    assert (await api.call("GET", "/v1/shops", {})).status_code == 401
    assert (await api.call("GET", "/v1/shops", api.token("catalog:read"))).status_code == 403
