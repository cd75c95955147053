"""Plumbing: transactions, outbox, inbox, relay, the consumer edge. Knows the kinds of message, never a particular one."""
