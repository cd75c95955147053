"""What a rule is, and what it finds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from infra.rls.catalog import Catalog


class Place(NamedTuple):
    """Where a rule is broken, said so fully that anything else there would be another place; and the names in its SQL."""

    where: str
    names: Mapping[str, str] = {}
    found: str = ""
    """What is there instead, where that is more than the rule says."""


@dataclass(frozen=True)
class Rule:
    """`wrong`: what it is; `why` it matters; `mend`: the SQL that puts it right, with the names of a place to be filled in."""

    id: str
    wrong: str
    why: str
    mend: str
    find: Callable[[Catalog], Iterator[Place]] = field(repr=False)


@dataclass(frozen=True)
class Finding:
    """A rule that is broken in one place."""

    rule: Rule
    place: Place

    @property
    def where(self) -> str:
        return self.place.where

    @property
    def wrong(self) -> str:
        return f"{self.rule.wrong}: {self.place.found}" if self.place.found else self.rule.wrong

    @property
    def mend(self) -> str:
        return self.rule.mend.format_map(self.place.names)

    def as_json(self) -> dict[str, str]:
        return {"rule": self.rule.id, "where": self.where, "wrong": self.wrong, "why": self.rule.why, "mend": self.mend}
