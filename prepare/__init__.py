"""Fetching datasets and CLIP weights, and checking them: `python -m prepare fetch|check|weights`."""

from .sources import is_present

__all__ = ["is_present"]
