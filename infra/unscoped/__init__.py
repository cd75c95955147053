"""The only statements that see more than one tenant: ids, numbers and times, never content. Each runs as its own narrow role."""
