"""Sending letters again: counted first, then at a rate, each followed to its outcome."""
