"""Changing what letters say, and putting away what nobody wants."""
