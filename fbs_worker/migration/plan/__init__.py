"""Turn the differences into operations with their hazards and locks."""
