"""Fixtures of the engine's tests: the small world of `engine_world` in its own folder, and runs in it."""

import pytest

from dassl.engine import build_trainer
from dassl.utils import set_random_seed
from tests.dassl import engine_world


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """DATASET.ROOT with the images of `engine_world`."""
    folder = tmp_path_factory.mktemp("data")
    engine_world.write_images(folder)
    return folder


@pytest.fixture
def build(root):
    """build(output_dir, *options, **settings) -> a trainer, seeded as its config says."""

    def make(output_dir, *options, **settings):
        cfg = engine_world.config(root, output_dir, options, settings)
        set_random_seed(cfg.SEED)
        return build_trainer(cfg)

    return make
