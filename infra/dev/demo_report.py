"""What came of a demonstration: kept while it plays, told at its end as tables or as one JSON document."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from infra.dev.demo_proof import Account, Shelf

PASSED: Final = "passed"
CONFIRMED: Final = "CONFIRMED"


@dataclass
class Score:
    """`outcomes` count the crowd's orders; `accounts` are those of every tenant, the stories' too; `off`: what else is wrong."""

    stories: dict[str, str] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    expected: Counter[str] = field(default_factory=Counter)
    accounts: list[Account] = field(default_factory=list)
    off: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_conserved(self) -> bool:
        return bool(self.accounts) and all(account.is_conserved for account in self.accounts)

    @property
    def is_well(self) -> bool:
        """All stories passed, the crowd's outcomes are those it must have, everything is conserved."""
        told = all(story == PASSED for story in self.stories.values())
        return told and self.is_conserved and self.outcomes == self.expected and not self.off

    def as_json(self) -> dict[str, Any]:
        """The document of `oaas demo --json`."""
        return {
            "orders": self.outcomes.total(),
            "confirmed": self.outcomes[CONFIRMED],
            "rejected": {reason: count for reason, count in sorted(self.outcomes.items()) if reason != CONFIRMED},
            "stories": self.stories,
            "conserved": self.is_conserved,
            "seconds": round(self.seconds, 1),
        }


def show(score: Score, console: Console) -> None:
    """The tables and the verdict."""
    console.print()
    if score.outcomes:
        console.print(_outcomes(score))
    console.print(_stock(score.accounts), _quota(score.accounts))
    for problem in score.off:
        console.print(f"[red]{problem}[/]")
    for name, story in score.stories.items():
        if story != PASSED:
            console.print(f"[red]{name}: {story}[/]")
    verdict = "[green]Everything is as it should be[/]" if score.is_well else "[bold red]Something is off[/]"
    console.print(f"{verdict}: {_passed(score)} stories passed, {score.outcomes.total()} orders, {score.seconds:.1f} s.")


def _passed(score: Score) -> str:
    return f"{sum(story == PASSED for story in score.stories.values())} of {len(score.stories)}"


def _outcomes(score: Score) -> Table:
    table = Table("outcome", "orders", "must be", "", title="What became of the orders", title_justify="left")
    for outcome in sorted(score.outcomes | score.expected):
        seen, wanted = score.outcomes[outcome], score.expected[outcome]
        table.add_row(outcome, str(seen), str(wanted), _mark(seen == wanted))
    return table


def _stock(accounts: list[Account]) -> Table:
    title = "Stock: available + held + consumed = received; held and consumed are what the orders hold"
    table = Table("tenant", "SKU", title=title, title_justify="left")
    for column in ("available", "held", "consumed", "received", ""):
        table.add_column(column, justify="right")
    for account in accounts:
        for shelf in account.shelves:
            table.add_row(account.retailer.name, shelf.sku, *_units(shelf), _mark(shelf.counted == shelf.wanted))
    return table


def _units(shelf: Shelf) -> list[str]:
    counted, wanted = shelf.counted, shelf.wanted
    pairs = [(getattr(counted, name), getattr(wanted, name)) for name in ("available", "held", "consumed", "received")]
    return [_compared(seen, must_be) for seen, must_be in pairs]


def _quota(accounts: list[Account]) -> Table:
    title = "Quota: what is held and settled is what the confirmed and the completed orders cost, and what the ledger has charged"
    table = Table("tenant", title=title, title_justify="left")
    for column in ("orders held", "settled", "pence held", "settled", "in ledger", ""):
        table.add_column(column, justify="right")
    for account in accounts:
        usage, wanted = account.usage, account.wanted_usage
        names = ("orders_held", "orders_settled", "pence_held", "pence_settled", "pence_in_ledger")
        cells = [_compared(getattr(usage, name), getattr(wanted, name)) for name in names]
        table.add_row(account.retailer.name, *cells, _mark(usage == wanted))
    return table


def _compared(seen: int, must_be: int) -> str:
    return f"{seen:,}" if seen == must_be else f"[red]{seen:,}, must be {must_be:,}[/]"


def _mark(is_well: bool) -> str:
    return "[green]✓[/]" if is_well else "[red]✗[/]"
