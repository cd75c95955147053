"""Who may say that something has come of a payment: whoever knows the secret, and not long ago."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from services.payments.callbacks import AGE_MAX_S, is_signed, sign

SECRET = SecretStr("the acquirer's")
BODY = b'{"metadata": {}}'
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOOD = sign(SECRET, BODY, AT)


def test_a_signed_body_is_known_while_it_is_young() -> None:
    assert is_signed(SECRET, BODY, GOOD, AT)
    assert is_signed(SECRET, BODY, GOOD, AT + timedelta(seconds=AGE_MAX_S))


@pytest.mark.parametrize("late", [AGE_MAX_S + 1, -AGE_MAX_S - 1])
def test_an_old_signature_and_one_from_the_future_are_not_taken(late: int) -> None:
    assert not is_signed(SECRET, BODY, GOOD, AT + timedelta(seconds=late))


def test_another_body_another_secret_or_another_time_has_another_signature() -> None:
    assert not is_signed(SECRET, BODY + b" ", GOOD, AT)
    assert not is_signed(SecretStr("somebody else's"), BODY, GOOD, AT)
    later = GOOD.replace(str(int(AT.timestamp())), str(int(AT.timestamp()) + 1))
    assert later != GOOD
    assert not is_signed(SECRET, BODY, later, AT)


@pytest.mark.parametrize(
    "signature", ["", "v1=0", "t=1,v1=", GOOD.upper(), GOOD + ",v1=x", "t=é,v1=" + "0" * 64, GOOD.replace("t=", "t=-")]
)
def test_what_has_not_the_form_is_no_signature(signature: str) -> None:
    assert not is_signed(SECRET, BODY, signature, AT)


def test_without_a_secret_nobody_can_sign() -> None:
    nothing = SecretStr("")
    assert not is_signed(nothing, BODY, sign(nothing, BODY, AT), AT)
