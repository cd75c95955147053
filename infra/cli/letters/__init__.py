"""`oaas dead-letters`: the operators' desk in a terminal."""
