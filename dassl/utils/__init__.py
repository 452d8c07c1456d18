"""Tools of the engine by topic; everything public can be imported from here."""

from .checkpoints import load_checkpoint, resume_from_checkpoint, save_checkpoint
from .environment import collect_env_info, collect_versions, device_name, git_commit
from .files import (
    check_isfile,
    download_url,
    listdir_nohidden,
    mkdir_if_missing,
    read_json,
    tolist_if_not,
    write_json,
    write_whole,
)
from .images import ImageError, read_image
from .logger import Logger, setup_logger
from .meters import AverageMeter, MetricMeter
from .networks import (
    count_num_param,
    init_network_weights,
    load_pretrained_weights,
    open_all_layers,
    open_specified_layers,
)
from .registry import (
    Registry,
    UnknownNameError,
    check_availability,
    get_most_similar_str_to_a_from_b,
)
from .seeding import get_random_state, isolated_random_state, set_random_seed, set_random_state

__all__ = [
    "AverageMeter",
    "Logger",
    "MetricMeter",
    "ImageError",
    "Registry",
    "UnknownNameError",
    "check_availability",
    "check_isfile",
    "collect_env_info",
    "collect_versions",
    "count_num_param",
    "device_name",
    "download_url",
    "get_most_similar_str_to_a_from_b",
    "get_random_state",
    "git_commit",
    "init_network_weights",
    "isolated_random_state",
    "listdir_nohidden",
    "load_checkpoint",
    "load_pretrained_weights",
    "mkdir_if_missing",
    "open_all_layers",
    "open_specified_layers",
    "read_image",
    "read_json",
    "resume_from_checkpoint",
    "save_checkpoint",
    "set_random_seed",
    "set_random_state",
    "setup_logger",
    "tolist_if_not",
    "write_json",
    "write_whole",
]
