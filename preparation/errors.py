"""The errors of preparing a dataset."""


class PrepareError(Exception):
    """A dataset cannot be prepared; the message says what was tried and what a person can do."""


class ArchiveError(PrepareError):
    """An archive is damaged, hostile, or does not hold what it should; nothing of it was kept."""
