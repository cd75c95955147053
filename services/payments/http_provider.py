"""The payment provider over HTTP.

    POST /operations             the key in the header Idempotency-Key     200 done or refused, 202 pending
    GET  /operations?key=KEY     what came of it                           200, or 404 if it is not known

No answer, a broken connection, 429 and any 5xx leave the call in doubt. Any other answer is one that the provider and we do not agree
about: a bug, on one side or the other, and no outcome.
"""

from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import httpx

from services.payments.provider import Call, Done, InDoubt, Outcome, Pending, Refused

_CODE_CHARACTERS_MAX: Final = 64
_REFERENCE_CHARACTERS_MAX: Final = 200
_DOUBTFUL: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class NotUnderstood(Exception):
    """The payment provider answered something that is not agreed on."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"the payment provider answered {answer.status_code}: {answer.text[:200]}")


class HttpProvider:
    """The provider at `url`, over the network or another transport.

    Each request waits `timeout_s` at most; `connections` are open at the same time at most.
    """

    def __init__(self, url: str, timeout_s: float, connections: int, transport: httpx.AsyncBaseTransport | None = None) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = httpx.AsyncClient(base_url=url, timeout=timeout_s, limits=limits, trust_env=False, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def call(self, call: Call, metadata: dict[str, str]) -> Outcome:
        """Have it done, or learn what came of it if it was called before."""
        body = {
            "operation": call.operation.value.lower(),
            "payment": str(call.payment_id),
            "amount": call.amount,
            "currency": "GBP",
            "token": call.token,
            "reference": call.reference,
            "metadata": metadata,
        }
        answer = await self._request("POST", "/operations", json=body, headers={"Idempotency-Key": call.key})
        if answer.status_code in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            return _outcome(answer)
        raise NotUnderstood(answer)

    async def ask(self, key: str) -> Outcome | None:
        """What came of the call with this key; None if the provider does not know it."""
        answer = await self._request("GET", "/operations", params={"key": key})
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.status_code == HTTPStatus.OK:
            return _outcome(answer)
        raise NotUnderstood(answer)

    async def _request(self, method: str, path: str, **keywords: Any) -> httpx.Response:
        try:
            answer = await self._client.request(method, path, **keywords)
        except httpx.TransportError as error:
            raise InDoubt(f"{method} {path}: {error!r}") from error
        if answer.is_server_error or answer.status_code in _DOUBTFUL:
            raise InDoubt(f"{method} {path}: {answer.status_code}")
        return answer


def _outcome(answer: httpx.Response) -> Outcome:
    try:
        told = answer.json()
        match told["status"]:
            case "done":
                return Done(_text(told["reference"], _REFERENCE_CHARACTERS_MAX))
            case "pending":
                return Pending(_text(told["reference"], _REFERENCE_CHARACTERS_MAX))
            case "refused":
                return Refused(_text(told["code"])[:_CODE_CHARACTERS_MAX])
    except (ValueError, KeyError, TypeError) as error:
        raise NotUnderstood(answer) from error
    raise NotUnderstood(answer)


def _text(value: object, characters_max: int | None = None) -> str:
    """The value, if it can be stored; raises ValueError. Found out later, when money has moved, it could never be noted."""
    if not isinstance(value, str) or not value or not value.isprintable() or (characters_max and len(value) > characters_max):
        raise ValueError("a text that cannot be stored")
    return value
