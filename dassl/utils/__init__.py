"""Tools of the engine by topic; everything public can be imported from here."""

from dassl.command import UnknownNameError, check_availability
from dassl.files import check_isfile, listdir_nohidden, mkdir_if_missing, read_json, write_json, write_whole

from .checkpoints import load_checkpoint, load_pretrained_weights, save_checkpoint
from .environment import collect_env_info
from .images import ImageError, read_image
from .logger import setup_logger
from .meters import AverageMeter, MetricMeter
from .registry import Registry
from .seeding import isolated_random_state, set_random_seed
