"""DATASET.TEMPLATE: the prompt that a person gives zero-shot CLIP in place of the dataset's own."""

import pytest

from dassl.config import get_cfg_default
from trainers.templates import DEFAULT_TEMPLATE, TEMPLATES, chosen_template, extend_cfg


def settings(name, template=""):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.DATASET.NAME, cfg.DATASET.TEMPLATE = name, template
    return cfg


def test_a_given_template_stands_in_for_the_datasets_own():
    assert chosen_template(settings("EuroSAT")) == TEMPLATES["EuroSAT"]
    assert chosen_template(settings("Folder")) == DEFAULT_TEMPLATE
    assert chosen_template(settings("EuroSAT", "a map of {}.")) == "a map of {}."


@pytest.mark.parametrize(
    "template", ["a photo", "{} and {}", "{name}", "{0.__class__}", "{} {", "{{}}", "}{"]
)
def test_a_template_without_one_place_for_the_name_is_refused(template):
    with pytest.raises(ValueError, match="DATASET.TEMPLATE is .* one {} where the class name goes"):
        chosen_template(settings("Folder", template))
