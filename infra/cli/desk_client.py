"""The operators' commands as clients of the HTTP API: what it refuses is told, what cannot be asked says how to mend it."""

import getpass
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, NoReturn

import httpx

from infra.cli.plainly import Refused
from infra.errors import Misconfigured, in_words
from infra.settings import ENVIRONMENT, Settings, settings_here
from infra.token import operators_token

_PATIENCE_S: Final = 60.0
_REFUSALS: Final = {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}
_TALLIES: Final = ("done", "refused", "moved")
_NOT_AVAILABLE: Final = "Not available"
"""Title of the problem that a 503 tells whose reason is an outage (infra/http/mishaps.py)."""
_WHERE: Final = "say where the API is with --url or OAAS_API_URL"
_OUTAGE: Final = "If the database is down, dead letters are safe in the broker: docs/runbooks/dead-letters.md, part 7: drain"

Json = dict[str, Any]


class NoAnswer(Misconfigured):
    """Nothing answers there; it may in a moment."""


class DeskClient:
    """The routes under /v1/ops, as the person who types."""

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        """Raises Misconfigured if nothing says where the API is, and without a token."""
        self._url = (url or settings.api_url or _url_here(settings)).rstrip("/")
        headers = {"Authorization": f"Bearer {operators_token(settings, getpass.getuser())}"}
        self._client = httpx.Client(headers=headers, timeout=_PATIENCE_S)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **params: Any) -> Json:
        """What GET answers; raises Refused for 404, Misconfigured for everything that the person has to mend first."""
        return self._ask("GET", path, params=_given(params))

    def post(self, path: str, body: Mapping[str, Any]) -> Json:
        """What POST answers; raises Refused for 404 and 409, Misconfigured as `get` does."""
        return self._ask("POST", path, json=dict(body))

    def put(self, path: str, body: Mapping[str, Any]) -> Json:
        """What PUT answers; raises as `post` does."""
        return self._ask("PUT", path, json=dict(body))

    def post_lines(self, path: str, lines: bytes, **params: Any) -> Json:
        """What POST answers to lines of JSON; raises as `post` does."""
        return self._ask("POST", path, params=params, content=lines, headers={"Content-Type": "application/x-ndjson"})

    def get_lines(self, path: str, **params: Any) -> Iterator[bytes]:
        """The lines of JSON that GET answers, in pieces as they come; raises as `get` does."""
        with self._telling(), self._client.stream("GET", self._at(path), params=_given(params)) as answer:
            if not answer.is_success:
                answer.read()
                self._refuse(answer)
            yield from answer.iter_bytes()

    def act_on_many(self, verb: str, body: Json, as_of: str, told: Callable[[Json], None]) -> Json:
        """Call after call until nothing is left; `told` hears the tally after each. Raises Misconfigured with what is done already."""
        tally: Json = {**dict.fromkeys(_TALLIES, 0), "not_done": []}
        after = None
        while True:
            try:
                answer = self.post(f"/sagas/{verb}", {**body, "dry_run": False, "as_of": as_of, "after": after})
            except Misconfigured as error:
                raise Misconfigured(f"{error}. {tally['done']} are done, the rest is as it was") from error
            for name in _TALLIES:
                tally[name] += answer[name]
            tally["not_done"] += answer["not_done"]
            told(tally)
            if not answer["more"]:
                return tally
            after = answer["next"]

    def _ask(self, method: str, path: str, **more: Any) -> Json:
        with self._telling():
            answer = self._client.request(method, self._at(path), **more)
        if not answer.is_success:
            self._refuse(answer)
        return self._read(answer)

    def _at(self, path: str) -> str:
        return f"{self._url}/v1/ops{path}"

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except httpx.InvalidURL as error:
            raise Misconfigured(f"{self._url} is no URL: {error}; {_WHERE}") from None
        except httpx.HTTPError as error:
            mend = "start it with `oaas up`, or say where it is with --url or OAAS_API_URL"
            raise NoAnswer(f"no API answers at {self._url} ({in_words(error)}): {mend}. {_OUTAGE}") from None

    def _refuse(self, answer: httpx.Response) -> NoReturn:
        body = self._read(answer)
        if "detail" not in body:
            raise Misconfigured(f"what answers at {self._url} is not the API: HTTP {answer.status_code}; {_WHERE}")
        if answer.status_code in _REFUSALS:
            raise Refused(body["detail"])
        if body.get("title") == _NOT_AVAILABLE:
            raise NoAnswer(
                f"the API at {self._url} answers, a server behind it does not, most likely PostgreSQL: {body['detail']}. {_OUTAGE}"
            )
        raise Misconfigured(_told(answer.status_code, body))

    def _read(self, answer: httpx.Response) -> Json:
        try:
            body: Json = answer.json() if answer.content else {}
        except ValueError:
            raise Misconfigured(f"what answers at {self._url} is not the API: HTTP {answer.status_code}; {_WHERE}") from None
        return body


def tried(tally: Json) -> int:
    """How many of those that were found a verb has been tried on."""
    return sum(int(tally[name]) for name in _TALLIES)


def _given(params: Mapping[str, Any]) -> Json:
    return {name: value for name, value in params.items() if value not in (None, False)}


@contextmanager
def here(url: str | None) -> Iterator[DeskClient]:
    """The API that the environment, the platform of this home or `url` names."""
    client = DeskClient(settings_here(), url)
    try:
        yield client
    finally:
        client.close()


def _url_here(settings: Settings) -> str:
    # Whatever listens on the default port may be a stranger's, and would be sent a token.
    if not (settings.home / ENVIRONMENT).is_file():
        raise Misconfigured("no platform runs in this home: start one with oaas up, or name its API with --url or OAAS_API_URL")
    return f"http://{settings.api_host}:{settings.api_port}"


def _told(status: int, body: Json) -> str:
    detail = str(body.get("detail", body))
    if status == HTTPStatus.UNAUTHORIZED or body.get("title") == "Missing scope":
        return f"{detail}. OAAS_TOKEN has to be a token with the scope ops; `oaas token --scope ops` makes one for development"
    if errors := body.get("errors"):
        # Filters are flags here.
        return "; ".join(f"{error['field'].removeprefix('filter.')} {error['message']}" for error in errors)
    return detail
