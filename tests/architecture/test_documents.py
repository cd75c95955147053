"""README and DECISIONS cite places that exist, in the form that the rules ask for."""

from collections.abc import Callable, Iterator

import pytest

from tests.architecture.citations import broken_citations, broken_decisions, broken_journey
from tests.architecture.source import NothingFound, document

Check = Callable[[str], Iterator[str]]

JOURNEY = "# Project\n\n## Follow one order\n\n" + "".join(
    f"{number}. The order goes on: `infra/clock.py::now`\n" for number in range(1, 15)
)
DECISION = "## 1. One clock\n\nTime is passed in.\n\nEnforced by: `tests/architecture/rules.py::clock_reads`\n"


@pytest.mark.parametrize("name", ["README.md", "DECISIONS.md", "docs/reliability.md", "docs/security.md"])
def test_every_cited_place_exists(name: str) -> None:
    assert list(broken_citations(document(name))) == []


def test_the_readme_follows_one_order_through_fourteen_stops() -> None:
    assert list(broken_journey(document("README.md"))) == []


def test_every_decision_is_short_and_enforced() -> None:
    assert list(broken_decisions(document("DECISIONS.md"))) == []


@pytest.mark.parametrize(("check", "text"), [(broken_citations, JOURNEY), (broken_journey, JOURNEY), (broken_decisions, DECISION)])
def test_what_is_as_it_should_be_passes(check: Check, text: str) -> None:
    assert list(check(text)) == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (broken_citations, "`infra/nowhere.py::now`"),
        (broken_citations, "`infra/clock.py::later`"),
        (broken_citations, "`infra/transaction.py::Scope.recieve`"),
        (broken_citations, "`pyproject.toml::no-such-thing-in-it`".replace("-", "_")),
        (broken_citations, "`tests/unit/test_nothing_of_the_kind.py`"),
        (broken_citations, "`infra/clock.py:7`"),
        (broken_journey, "# Project"),
        (broken_journey, JOURNEY.replace("14. ", "")),
        (broken_journey, JOURNEY + "15. One too many: `infra/clock.py::now`\n"),
        (broken_journey, JOURNEY.replace("7. The order goes on: `infra/clock.py::now`", "7. Somehow it goes on.")),
        (broken_decisions, ""),
        (broken_decisions, DECISION.replace("1.", "2.")),
        (broken_decisions, DECISION.replace("Time is passed in.", "Time.\n" * 12)),
        (broken_decisions, DECISION.replace("Enforced by: `tests/architecture/rules.py::clock_reads`", "")),
        (broken_decisions, DECISION.replace("`tests/architecture/rules.py::clock_reads`", "good will")),
    ],
)
def test_what_breaks_the_form_is_seen(check: Check, text: str) -> None:
    assert list(check(text)) != []


def test_a_member_is_cited_with_its_class() -> None:
    assert list(broken_citations("`infra/transaction.py::Scope.send` and `infra/crash.py::POINTS`")) == []


def test_a_missing_document_is_told() -> None:
    with pytest.raises(NothingFound, match=r"NOWHERE\.md is missing"):
        document("NOWHERE.md")
