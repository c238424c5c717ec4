"""Integrations with other frameworks; each needs the extra of its name."""
