"""The miniatures of datasets, which the tests of hostile files start from."""

from tests.datasets.conftest import config, lay_out, make_picture, read, write  # noqa: F401  (fixtures)
