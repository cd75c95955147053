"""Shops, products and stock over HTTP: request -> repository and use case -> status. No decisions.

A thing of another tenant answers like one that does not exist.
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, Strict

from contracts.inventory import Ingredients, Name
from contracts.values import AllergenSet, Available, Pence, Sku, VatRate, allergens_of, mask_of
from infra.http import Problem, decode_cursor, encode_cursor
from infra.http.auth import Caller, caller_with
from infra.settings import Settings
from infra.transaction import Scope, Transactions
from services.inventory import repository
from services.inventory.model import Product, Shop, Stock
from services.inventory.use_cases import announce_product, announce_shop

Reader = Annotated[Caller, Depends(caller_with("catalog:read", "catalog:write"))]
Writer = Annotated[Caller, Depends(caller_with("catalog:write"))]
Limit = Annotated[int, Query(ge=1, le=200, description="how many items at most")]
SkuCursor = Annotated[Sku | None, Query(description="the `next` of the page before: its last SKU")]


class NewShop(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    accepts_by_hand: Annotated[bool, Strict()] = Field(default=False, description="somebody in the shop accepts or declines each order")


class ShopView(BaseModel):
    id: UUID
    name: str
    accepts_by_hand: bool


class ShopPage(BaseModel):
    items: list[ShopView]
    next: str | None = Field(description="send it as `cursor` for the following page; null on the last one")


class ProductDetails(BaseModel):
    """Everything about a product but its SKU. The price includes VAT."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    price_pence: Annotated[Pence, Strict()]
    vat_rate: VatRate
    allergens: AllergenSet = ()
    ingredients: Ingredients = ()


class NewProduct(ProductDetails):
    sku: Sku


class ProductView(BaseModel):
    sku: str
    version: int
    name: str
    price_pence: int
    vat_rate: VatRate
    allergens: AllergenSet
    ingredients: list[str]
    created_at: datetime
    changed_at: datetime


class ProductPage(BaseModel):
    items: list[ProductView]
    next: str | None = Field(description="send it as `cursor` for the following page; null on the last one")


class StockCount(BaseModel):
    """So many units may be sold from now on; what orders hold is not among them."""

    model_config = ConfigDict(extra="forbid")

    available: Annotated[Available, Strict()]


class StockView(BaseModel):
    """available + held + consumed = received."""

    shop_id: UUID
    sku: str
    available: int
    held: int
    consumed: int
    received: int


class StockPage(BaseModel):
    items: list[StockView]
    next: str | None = Field(description="send it as `cursor` for the following page; null on the last one")


def router(transaction: Transactions, _settings: Settings) -> APIRouter:
    """The routes of inventory, on the given way to its database."""
    routes = APIRouter(prefix="/v1")
    for add in (_shops, _products, _product_pages, _stock, _stock_pages):
        add(routes, transaction)
    return routes


def _shops(routes: APIRouter, transaction: Transactions) -> None:
    @routes.post("/shops", status_code=201)
    async def open_shop(caller: Writer, body: NewShop, response: Response) -> ShopView:
        async with transaction(caller.tenant_id) as scope:
            shop = _new_shop(scope, body)
            await repository.add_shop(scope, shop)
            scope.send(announce_shop(shop), subject=str(shop.shop_id), sequence=1)
        response.headers["Location"] = f"/v1/shops/{shop.shop_id}"
        return _shop_view(shop)

    @routes.get("/shops")
    async def list_shops(caller: Reader, cursor: str | None = None, limit: Limit = 50) -> ShopPage:
        after = None if cursor is None else decode_cursor(cursor)
        async with transaction(caller.tenant_id) as scope:
            shops = await repository.list_shops(scope, after, limit)
        following = encode_cursor(shops[-1].created_at, shops[-1].shop_id) if len(shops) == limit else None
        return ShopPage(items=[_shop_view(shop) for shop in shops], next=following)

    @routes.get("/shops/{shop_id}")
    async def get_shop(caller: Reader, shop_id: UUID) -> ShopView:
        async with transaction(caller.tenant_id) as scope:
            return _shop_view(await _known_shop(scope, shop_id))


def _products(routes: APIRouter, transaction: Transactions) -> None:
    @routes.post("/products", status_code=201)
    async def list_product(caller: Writer, body: NewProduct, response: Response) -> ProductView:
        async with transaction(caller.tenant_id) as scope:
            product = _new_product(scope, body)
            if not await repository.add_product(scope, product):
                detail = f"SKU {body.sku} is listed already; PUT /v1/products/{body.sku} replaces its details"
                raise Problem(409, "Product exists", detail)
            _announce(scope, product)
        response.headers["Location"] = f"/v1/products/{product.sku}"
        return _product_view(product)

    @routes.put("/products/{sku}")
    async def relist_product(caller: Writer, sku: Sku, body: ProductDetails) -> ProductView:
        async with transaction(caller.tenant_id) as scope:
            product = await _known_product(scope, sku, to_change=True)
            product.relist(
                name=body.name,
                price_pence=body.price_pence,
                vat_rate=body.vat_rate.value,
                allergens=body.allergens,
                ingredients=body.ingredients,
                now=scope.now,
            )
            _announce(scope, product)
        return _product_view(product)


def _product_pages(routes: APIRouter, transaction: Transactions) -> None:
    @routes.get("/products")
    async def list_products(caller: Reader, cursor: SkuCursor = None, limit: Limit = 50) -> ProductPage:
        async with transaction(caller.tenant_id) as scope:
            products = await repository.list_products(scope, cursor, limit)
        following = products[-1].sku if len(products) == limit else None
        return ProductPage(items=[_product_view(product) for product in products], next=following)

    @routes.get("/products/{sku}")
    async def get_product(caller: Reader, sku: Sku) -> ProductView:
        async with transaction(caller.tenant_id) as scope:
            return _product_view(await _known_product(scope, sku))


def _stock(routes: APIRouter, transaction: Transactions) -> None:
    @routes.put("/shops/{shop_id}/stock/{sku}")
    async def count_stock(caller: Writer, shop_id: UUID, sku: Sku, body: StockCount) -> StockView:
        async with transaction(caller.tenant_id) as scope:
            await _known_shop(scope, shop_id)
            await _known_product(scope, sku)
            stock = await repository.stock_to_change(scope, shop_id, sku)
            stock.count(body.available, scope.now)
        return _stock_view(stock)

    @routes.get("/shops/{shop_id}/stock/{sku}")
    async def get_stock(caller: Reader, shop_id: UUID, sku: Sku) -> StockView:
        async with transaction(caller.tenant_id) as scope:
            await _known_shop(scope, shop_id)
            await _known_product(scope, sku)
            stock = await repository.find_stock(scope, shop_id, sku)
        if stock is None:
            return StockView(shop_id=shop_id, sku=sku, available=0, held=0, consumed=0, received=0)
        return _stock_view(stock)


def _stock_pages(routes: APIRouter, transaction: Transactions) -> None:
    @routes.get("/shops/{shop_id}/stock")
    async def list_stock(caller: Reader, shop_id: UUID, cursor: SkuCursor = None, limit: Limit = 50) -> StockPage:
        async with transaction(caller.tenant_id) as scope:
            await _known_shop(scope, shop_id)
            rows = await repository.list_stock(scope, shop_id, cursor, limit)
        following = rows[-1].sku if len(rows) == limit else None
        return StockPage(items=[_stock_view(row) for row in rows], next=following)


async def _known_shop(scope: Scope, shop_id: UUID) -> Shop:
    shop = await repository.find_shop(scope, shop_id)
    if shop is None:
        raise Problem(404, "Unknown shop", f"there is no shop {shop_id}; GET /v1/shops lists them")
    return shop


async def _known_product(scope: Scope, sku: str, *, to_change: bool = False) -> Product:
    product = await repository.find_product(scope, sku, to_change=to_change)
    if product is None:
        raise Problem(404, "Unknown product", f"there is no product with SKU {sku}; GET /v1/products lists them")
    return product


def _new_shop(scope: Scope, body: NewShop) -> Shop:
    return Shop(tenant_id=scope.tenant_id, shop_id=uuid4(), name=body.name, created_at=scope.now, accepts_by_hand=body.accepts_by_hand)


def _new_product(scope: Scope, body: NewProduct) -> Product:
    return Product(
        tenant_id=scope.tenant_id,
        sku=body.sku,
        version=1,
        name=body.name,
        price_pence=body.price_pence,
        vat_rate=body.vat_rate.value,
        allergen_mask=mask_of(body.allergens),
        ingredients=list(body.ingredients),
        created_at=scope.now,
        changed_at=scope.now,
    )


def _announce(scope: Scope, product: Product) -> None:
    scope.send(announce_product(product), subject=product.sku, sequence=product.version)


def _shop_view(shop: Shop) -> ShopView:
    return ShopView(id=shop.shop_id, name=shop.name, accepts_by_hand=shop.accepts_by_hand)


def _product_view(product: Product) -> ProductView:
    allergens = allergens_of(product.allergen_mask)
    return ProductView(**product.model_dump(exclude={"tenant_id", "allergen_mask"}), allergens=allergens)


def _stock_view(stock: Stock) -> StockView:
    return StockView(**stock.model_dump(exclude={"tenant_id", "changed_at"}))
