"""The `Prefer` header (RFC 7240): what a client would like, and which of it is granted.

A preference is no demand: what is unknown or malformed is ignored, and of a repeated one the first counts.
"""

import re
from collections.abc import Iterable
from typing import Final

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - a token of HTTP's grammar
_WORD: Final = rf'(?:{_TOKEN}|"(?:[^"\\]|\\.)*")'
_PREFERENCE: Final = re.compile(rf"^({_TOKEN})(?:\s*=(?:\s*({_WORD}))?)?\s*(?:;.*)?$", re.DOTALL)
# A comma inside a quoted word separates nothing.
_ELEMENT: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"]|")+')
_CHARACTERS_MAX: Final = 1_000
"""A longer header is no preference but an attack on the expressions above, whose time grows with its square."""
_SECONDS: Final = re.compile(r"^[0-9]{1,9}$")


def preferences(headers: Iterable[str]) -> dict[str, str]:
    """Preference -> value without quotes ('' if it has none), of all `Prefer` headers of a request, names in lower case."""
    found: dict[str, str] = {}
    joined = ", ".join(headers)
    for element in _ELEMENT.findall(joined) if len(joined) <= _CHARACTERS_MAX else ():
        match = _PREFERENCE.match(element.strip())
        if match:
            name, word = match.group(1).lower(), match.group(2) or ""
            found.setdefault(name, re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word)
    return found


def wait_s(headers: Iterable[str], wait_max_s: float) -> int | None:
    """Whole seconds that the client is willing to wait, at most `wait_max_s`; None if it asks for no wait that can be read."""
    value = preferences(headers).get("wait", "")
    return min(int(value), int(wait_max_s)) if _SECONDS.match(value) else None
