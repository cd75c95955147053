"""The letters: what they are, where they are kept, how they are found and shown, and who did what to them."""
