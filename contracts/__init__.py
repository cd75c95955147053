"""Everything that crosses the wire, and nothing else. Imports pydantic only."""
