"""Do the books of all services agree, and what mends what does not."""
