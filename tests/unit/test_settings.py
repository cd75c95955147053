"""Settings that contradict each other are refused before anything starts."""

import pytest
from pydantic import ValidationError

from infra.settings import Settings


@pytest.mark.parametrize(
    ("variable", "days"), [("OAAS_INBOX_KEEP_DAYS", "30"), ("OAAS_INBOX_KEEP_DAYS", "1"), ("OAAS_DEAD_LETTER_KEEP_DAYS", "35")]
)
def test_messages_that_are_forgotten_before_their_letters_are_refused_whichever_was_set(
    variable: str, days: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, days)
    with pytest.raises(ValidationError, match="would apply its replayed letter twice") as refused:
        Settings()
    assert "OAAS_DEAD_LETTER_KEEP_DAYS" in str(refused.value)
    assert refused.value.errors()[0]["loc"] == ("inbox_keep_days",)


def test_a_day_more_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAAS_DEAD_LETTER_KEEP_DAYS", "34")
    assert Settings().inbox_keep_days == 35


@pytest.mark.parametrize(("variable", "value"), [("OAAS_REPLAY_RESEND_S", "2900"), ("OAAS_RETRIES_MAX", "9")])
def test_letters_that_may_still_be_on_the_ladder_are_not_sent_again(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match="on the retry ladder") as refused:
        Settings()
    assert refused.value.errors()[0]["loc"] == ("replay_resend_s",)
