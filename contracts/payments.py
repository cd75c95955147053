"""What `payments` understands and answers: the client's card, at a payment provider outside. It answers when the provider has."""

from uuid import UUID

from pydantic import Field

from contracts.messages import Command, Refusal, Reply
from contracts.values import OrderId, PaymentToken, Pence


class PaymentAuthorised(Reply):
    """The provider holds the amount on the card."""

    payment_id: UUID


class PaymentRefused(Refusal):
    """The provider says no, or the payment was given back before it was asked for; nothing is held on the card."""

    code: str = Field(max_length=64, description="the provider's reason, such as insufficient_funds")


class AuthorisePayment(Command[PaymentAuthorised | PaymentRefused]):
    """Hold the amount on the client's card."""

    order_id: OrderId
    amount: Pence
    token: PaymentToken = Field(repr=False)


class PaymentReturned(Reply):
    """Nothing is held on the card and nothing is taken for the order, and nothing will be."""


class ReturnPayment(Command[PaymentReturned]):
    """Give back what the order's payment holds or took: void or refund it, also one that has not arrived yet."""

    order_id: OrderId


class PaymentCaptured(Reply):
    """The amount is taken from the card."""


class CapturePayment(Command[PaymentCaptured | PaymentReturned]):
    """Take the authorised amount. Was it given back meanwhile, there is nothing to take, and the answer says so."""

    order_id: OrderId
