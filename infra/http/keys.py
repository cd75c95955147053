"""The issuer's public keys: from a file, inline JSON or an http(s) URL. Fetched once for many waiters, served stale in an outage."""

import asyncio
import json
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from infra.errors import Misconfigured, Outage

_LOG: Final = logging.getLogger(__name__)
_KINDS: Final = ("RSA", "EC", "OKP")

REFRESH_AFTER: Final = timedelta(minutes=5)
"""Age at which the keys are fetched again: how long a withdrawn key still works."""
COOL_DOWN: Final = timedelta(seconds=30)
"""Pause after a fetch that brought nothing new: tokens with invented key ids must not hammer the issuer."""
FIRST_COOL_DOWN: Final = timedelta(seconds=1)
"""Pause after a fetch that failed while there are no keys at all."""
_FETCH_MAX_S: Final = 3.0
_BYTES_MAX: Final = 1_000_000


class Keys:
    """The key set behind one source. `generation` rises when the keys change: what older ones verified is verified again."""

    def __init__(self, source: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        if not source.strip():
            raise Misconfigured("OAAS_JWKS is not set: the key set that verifies tokens, as a file, inline JSON or an http(s) URL")
        self.generation = 0
        self._source = source.strip()
        self._transport = transport
        self._set: KeySet | None = None
        self._text = ""
        self._fetched_at: datetime | None = None
        self._next_try_at: datetime | None = None
        self._tries = 0
        self._one_at_a_time = asyncio.Lock()

    async def current(self, at: datetime) -> KeySet:
        """The keys as of now; raises Outage if there are none yet and the source cannot be read."""
        # While somebody fetches newer ones, the keys we have serve everybody else.
        if self._set is None or (self._is_stale(at) and not self._one_at_a_time.locked()):
            await self._fetch(at)
        if self._set is None:
            raise Outage("the key set that verifies tokens cannot be read")
        return self._set

    async def after_unknown_key(self, at: datetime) -> KeySet:
        """The keys, fetched again for a token whose key is not among them, unless that was tried a moment ago."""
        await self._fetch(at)
        return await self.current(at)

    def _is_stale(self, at: datetime) -> bool:
        return self._fetched_at is not None and at - self._fetched_at >= REFRESH_AFTER

    async def _fetch(self, at: datetime) -> None:
        cooling = self._next_try_at is not None and at < self._next_try_at
        if cooling and not self._one_at_a_time.locked():
            return
        tries = self._tries
        async with self._one_at_a_time:
            if self._tries != tries:
                return  # Whoever we waited for has fetched, or failed to, for us as well.
            try:
                text = await self._read()
                keys = _public_keys(text)
            except (httpx.HTTPError, OSError, TimeoutError, ValueError, JoseError) as error:
                _LOG.warning("cannot read the key set: %s", type(error).__name__)
                self._next_try_at = at + (COOL_DOWN if self._set else FIRST_COOL_DOWN)
            else:
                self._take(text, keys, at)
            # Counted only now: had this fetch been cancelled, the next in line would have to do it.
            self._tries += 1

    def _take(self, text: str, keys: KeySet, at: datetime) -> None:
        self._fetched_at = at
        if text == self._text:
            self._next_try_at = at + COOL_DOWN
            return
        self._set, self._text = keys, text
        self.generation += 1

    async def _read(self) -> str:
        if self._source.startswith("{"):
            return self._source
        if not self._source.startswith(("http://", "https://")):
            return await asyncio.to_thread(Path(self._source).read_text, encoding="utf-8")
        async with asyncio.timeout(_FETCH_MAX_S), httpx.AsyncClient(transport=self._transport, timeout=_FETCH_MAX_S) as client:
            response = (await client.get(self._source)).raise_for_status()
            if len(response.content) > _BYTES_MAX:
                raise ValueError("the key set is too large")
            return response.text


def _public_keys(text: str) -> KeySet:
    """The set without symmetric and encryption keys: a published secret must never verify anything. Raises ValueError if none is left."""
    document = json.loads(text)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError('a key set has "keys"')
    usable = [entry for entry in entries if isinstance(entry, dict) and entry.get("kty") in _KINDS and entry.get("use", "sig") == "sig"]
    if not usable:
        raise ValueError("no usable key")
    return KeySet.import_key_set({"keys": usable})
