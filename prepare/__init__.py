"""Fetching datasets and CLIP weights, and checking them: `python -m prepare fetch|check|weights`."""
