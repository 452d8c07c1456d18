"""DATASET.TEMPLATE: the prompt that a person gives zero-shot CLIP in place of the dataset's own."""

import pytest

from dassl.config import get_cfg_default
from tests.trainers.small_runs import NAMES, build
from trainers.templates import DEFAULT_TEMPLATE, ENSEMBLE, TEMPLATES, chosen_template, extend_cfg


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


def test_the_template_reaches_the_text_tower(eurosat, weights, tmp_path, capsys):
    def run(method, *pairs):
        trainer = build(method, eurosat, weights["narrow"], tmp_path, *pairs)
        return trainer.model.prompt_learner.texts()

    own, given = run("ZeroshotCLIP"), run("ZeroshotCLIP", "DATASET.TEMPLATE", "a map of {}, seen from above.")
    assert "Prompt templates: 'a map of {}, seen from above.'" in capsys.readouterr().out
    assert len(own) == len(given) == 1 and len(given[0].end_index) == len(NAMES)
    assert not own[0].embedded.equal(given[0].embedded)
    assert len(run("ZeroshotCLIP2", "DATASET.TEMPLATE", "a map of {}.")) == len(ENSEMBLE) + 1
