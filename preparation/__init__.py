"""Fetching datasets: the table of their sources, downloads, safe unpacking, and putting everything where the readers look for it."""
