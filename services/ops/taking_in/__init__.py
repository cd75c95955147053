"""Dead letters on their way from the broker into the tables."""
