"""The prompt templates of zero-shot CLIP, by dataset name (the choices of CoOp's released code)."""

from collections.abc import Mapping, Sequence
from typing import Any

DEFAULT_TEMPLATE = "a photo of a {}."

TEMPLATES = {
    "OxfordPets": "a photo of a {}, a type of pet.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "Food101": "a photo of {}, a type of food.",
    "UCF101": "a photo of a person doing {}.",
}

# Selected by OpenAI for ImageNet ("prompt engineering" notebook of the CLIP repository).
ENSEMBLE = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def extend_cfg(cfg: Any) -> None:
    """Declare the setting that stands in for a dataset's template."""
    # The prompt of zero-shot CLIP, and of a frozen CLIP that a method is held near: words with one {} where
    # the class name goes. Empty: the dataset's own, by the method's table.
    cfg.DATASET.TEMPLATE = ""


def chosen_template(cfg: Any, templates: Mapping[str, str] = TEMPLATES) -> str:
    """The template of a run: DATASET.TEMPLATE, or else the dataset's own in `templates`.

    Raises:
        ValueError: DATASET.TEMPLATE does not have exactly one `{}`, or other braces.
    """
    template = cfg.DATASET.TEMPLATE
    if template and (template.count("{}") != 1 or template.count("{") + template.count("}") != 2):
        raise ValueError(
            f"DATASET.TEMPLATE is {template!r}; it takes words with one {{}} where the class name goes, and "
            f"no other braces, such as {DEFAULT_TEMPLATE!r}"
        )
    return template or templates.get(cfg.DATASET.NAME, DEFAULT_TEMPLATE)


def fill(template: str, classnames: Sequence[str]) -> list[str]:
    """`template` with each class name, its underscores read as spaces."""
    return [template.format(name.replace("_", " ")) for name in classnames]
