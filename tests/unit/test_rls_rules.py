"""What docs/security.md says of the rules of `oaas check rls` is what they are."""

from infra.rls.deliberate import DELIBERATE
from infra.rls.lint import RULES
from tests.architecture.source import document


def test_every_rule_is_documented_as_it_is() -> None:
    lines = document("docs/security.md").splitlines()
    listed = [line for line in lines if line.startswith("| `")]
    assert listed == [f"| `{rule.id}` | {rule.wrong} | {rule.why} | `{rule.mend}` |" for rule in RULES]


def test_rules_have_names_of_their_own_and_what_is_deliberate_breaks_one_that_there_is() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert {rule for rule, _ in DELIBERATE} <= set(ids)
