"""KgCoOp, knowledge-guided CoOp (Yao et al., CVPR 2023, arXiv 2303.13283): CoOp, held near frozen CLIP.

With class features t_c of the learned words, and z_c of the frozen CLIP's template without them:

    loss = CE + W (1 - mean over classes of cos(t_c, z_c))

The paper writes a squared Euclidean distance, which is 2 - 2 cos for features of length 1. The released code
has 1 - cos, which is followed here, so that the paper's weight of 8 is W = 8.
"""

from typing import Any

from torch import Tensor

from clip import CLIP
from dassl.engine import TRAINER_REGISTRY

from .base import Terms
from .coop import ContextWords, CoOp
from .prompted_clip import cosine_distance
from .templates import TEMPLATES, chosen_template, fill

INITIAL_WORDS = "a photo of a"  # of CTX_INIT True, of which the released code reads no words
FROZEN_TEMPLATES = TEMPLATES | {"DescribableTextures": "a photo of a {}, a type of texture."}


def extend_cfg(cfg: Any) -> None:
    """Declare what KgCoOp reads of `TRAINER.COOP` beside CoOp's settings."""
    # The published scripts pass 8.0. CTX_INIT may also be True (N_CTX is then 4) or False.
    cfg.TRAINER.COOP.W = 1.0
    cfg.TRAINER.COOP.ALPHA = 1.0  # in files of KgCoOp and DePT, whose code never reads it


@TRAINER_REGISTRY.register()
class KgCoOp(CoOp):
    further_settings: tuple[str, ...] = ("TRAINER.COOP.W", "TRAINER.COOP.ALPHA")
    has_static_step = True
    # The released code puts the class name at the end whatever the setting says.
    choices = {"TRAINER.COOP.CLASS_TOKEN_POSITION": ("end",), "TRAINER.COOP.ALPHA": (1.0,)}
    frozen_templates = FROZEN_TEMPLATES
    """Templates of the frozen features by dataset name."""

    @classmethod
    def words(cls, cfg: Any) -> tuple[int, str]:
        n_ctx, words = super().words(cfg)
        if words == "True":
            return len(INITIAL_WORDS.split()), INITIAL_WORDS
        return n_ctx, ("" if words == "False" else words)

    @classmethod
    def build_prompt_learner(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> ContextWords:
        learner = super().build_prompt_learner(cfg, clip_model, classnames)
        # The released code holds half of CoCoOp's network without using it.
        learner.unused_in_files = (*learner.unused_in_files, "*bias_vectors", "*meta_net.linear1.*")
        learner.frozen_texts = [fill(chosen_template(cfg, cls.frozen_templates), classnames)]
        return learner

    def weight(self) -> float:
        """W."""
        return self.cfg.TRAINER.COOP.W

    def loss_terms(self, images: Tensor, labels: Tensor) -> Terms:
        """The cross-entropy, and the distance `kg` of the class features from the frozen ones."""
        logits, _, text = self.model.outputs(images)
        distance = cosine_distance(text, self.model.frozen_text_features())
        return {"cross_entropy": (1.0, self.cross_entropy(logits, labels)), "kg": (self.weight(), distance)}
