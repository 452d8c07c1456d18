"""The published Dassl's module for tools; here they live in modules by topic."""

from .environment import collect_env_info
from .files import check_isfile, listdir_nohidden, mkdir_if_missing, read_json, write_json
from .images import read_image
from .seeding import set_random_seed

__all__ = [
    "check_isfile",
    "collect_env_info",
    "listdir_nohidden",
    "mkdir_if_missing",
    "read_image",
    "read_json",
    "set_random_seed",
    "write_json",
]
