"""The published Dassl's module for this function."""

from dassl.files import mkdir_if_missing  # noqa: F401
