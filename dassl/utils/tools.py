"""The published Dassl's module for these tools."""

from .files import check_isfile, listdir_nohidden, mkdir_if_missing, read_json, write_json
from .images import read_image
from .seeding import set_random_seed

__all__ = [
    "check_isfile",
    "listdir_nohidden",
    "mkdir_if_missing",
    "read_image",
    "read_json",
    "set_random_seed",
]
__all__ += ["write_json"]
