"""Errors that stay inside this package."""

from __future__ import annotations


class ArchError(ValueError):
    """A view's arch that cannot be read; the view is passed over and counted."""
