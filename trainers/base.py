"""The trainer that every method shares: it loads CLIP, builds the method's prompts, freezes the rest, and takes the steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import clip
from clip import CLIP
from dassl.engine import TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_checkpoint

from . import prompt_file
from .backbone import BackboneIdentity
from .evaluation import FeatureEvaluation
from .graphs import RecordedGradients
from .learned import LearnedParameters
from .precision import check_precision, choose_precision
from .prompted_clip import PromptedCLIP
from .prompts import PromptLearner
from .speed import caches_text, records_steps


def load_frozen_clip(cfg: Any, device: torch.device) -> CLIP:
    """The CLIP that ``MODEL.BACKBONE.NAME`` names, on ``device``; checks that ``INPUT.SIZE`` is its picture size.

    Raises:
        ValueError: the pictures would have another size than the weights were made for.
    """
    name = cfg.MODEL.BACKBONE.NAME
    print(f"Loading CLIP (backbone: {name})")
    model = clip.load(name, device)
    size = model.config.image_size
    if tuple(cfg.INPUT.SIZE) != (size, size):
        raise ValueError(
            f"INPUT.SIZE is {tuple(cfg.INPUT.SIZE)}, but the weights {name} read pictures of {size} x {size}: set INPUT.SIZE to ({size}, {size})"
        )
    return model


def require_vit(cfg: Any, clip_model: CLIP) -> None:
    """Refuse a ResNet for methods with vision prompts.

    Raises:
        ValueError: the image tower has no token sequence.
    """
    if not clip_model.config.has_vit:
        raise ValueError(
            f"{cfg.TRAINER.NAME} puts prompts among the patches of a ViT, but the backbone {cfg.MODEL.BACKBONE.NAME} is a ResNet. "
            "Use ViT-B/32, ViT-B/16 or ViT-L/14, or a method that learns text prompts alone (CoOp, CoCoOp)."
        )


def check_depth(key: str, depth: int, least: int, *n_layers: int) -> None:
    """Refuse a prompt depth that the towers do not have.

    Raises:
        ValueError: ``depth`` is below ``least`` or above the smallest of ``n_layers``; ``key`` is named.
    """
    if not least <= depth <= min(n_layers):
        raise ValueError(
            f"{key} is {depth}; this backbone takes {least} to {min(n_layers)} (layers of its towers in question: {', '.join(map(str, n_layers))})"
        )


class PromptTrainer(FeatureEvaluation, TrainerX):
    """A frozen CLIP with learned prompts, trained by cross-entropy.

    A method gives :meth:`build_prompt_learner`; it overrides :meth:`loss` if its loss is another, and :attr:`checkpoint_name` if published files lie in
    a folder of another name. docs/ADDING_A_METHOD.md adds one, step by step.
    """

    settings_node: str
    """The method's node under ``cfg.TRAINER``: its own name in capitals; a subclass of a method shares that method's, unless it says otherwise."""
    checkpoint_name = "prompt_learner"
    """Folder of its checkpoints in a run's folder, as published."""
    model_class: type[PromptedCLIP] = PromptedCLIP
    """How the towers and the prompts make logits."""
    has_static_step = False
    """Whether every step does the same but for the values of its tensors, so that it can be recorded (:mod:`trainers.graphs`). Each class says it for
    itself and no subclass inherits it, since what that adds may be otherwise."""
    model: PromptedCLIP
    _gradients: Callable[[Tensor, Tensor], Tensor] | None = None
    """:meth:`compute_gradients`, or its recording; a subclass with a :meth:`build_model` of its own may leave it alone."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "settings_node"):
            cls.settings_node = cls.__name__.upper()

    @classmethod
    def check_cfg(cls, cfg: Any) -> None:
        """Refuse settings that cannot work, before anything is loaded.

        Raises:
            ValueError: PREC is none, or the method's file declares no node of its name with PREC.
        """
        node = f"TRAINER.{cls.settings_node}"
        if "PREC" not in cfg.TRAINER.get(cls.settings_node, {}):
            raise ValueError(
                f"{cls.__name__} has no {node}.PREC: extend_cfg(cfg) in its file declares its settings, as cfg.{node} = CfgNode() and "
                f'cfg.{node}.PREC = "fp16" (the name in capitals; docs/ADDING_A_METHOD.md)'
            )
        check_precision(cfg.TRAINER[cls.settings_node].PREC, f"{node}.PREC")

    @classmethod
    def build_prompt_learner(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> PromptLearner:
        """Read the method's settings from ``cfg`` and build its learned part for ``classnames``."""
        raise NotImplementedError

    @classmethod
    def class_specific(cls, cfg: Any) -> tuple[str, ...]:
        """The learned arrays that have one row a class, and so serve the classes of the training alone; by their published names."""
        return ()

    @classmethod
    def prompt_settings(cls, cfg: Any) -> dict[str, Any]:
        """The method's settings in ``cfg`` by their dotted keys, as the prompt file keeps them."""
        return {f"TRAINER.{cls.settings_node}.{key}": value for key, value in cfg.TRAINER[cls.settings_node].items()}

    def build_model(self) -> None:
        """Load CLIP, build the prompts, and register exactly the learned parameters with the engine."""
        cfg = self.cfg
        precision = choose_precision(cfg.TRAINER[self.settings_node].PREC, self.device)
        self.computed_in = precision.name
        clip_model = load_frozen_clip(cfg, torch.device("cpu"))
        self.backbone = BackboneIdentity.of(clip_model, cfg.MODEL.BACKBONE.NAME)
        prompt_learner = self.build_prompt_learner(cfg, clip_model, self.dm.dataset.classnames)
        self.model = self.model_class(clip_model, prompt_learner, precision).to(self.device)
        self.model.keeps_text &= caches_text(cfg)
        self.learned = LearnedParameters(self.model, cfg.TRAINER.NAME)
        if cfg.MODEL.INIT_WEIGHTS:
            self._start_from(cfg.MODEL.INIT_WEIGHTS)
        self._print_what_is_learned()
        self.optim = build_optimizer(self.learned, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model(self.checkpoint_name, self.learned, self.optim, self.sched)
        self.scaler = torch.amp.GradScaler(self.device.type) if precision.scales_loss else None
        is_recorded = records_steps(cfg) and self.device.type == "cuda" and vars(type(self)).get("has_static_step", False)
        learned = [parameter for _, parameter in self.learned.named_parameters()]
        self._gradients = RecordedGradients(self.compute_gradients, learned) if is_recorded else self.compute_gradients

    def _start_from(self, path: str) -> None:
        """Take the learned values of the checkpoint that MODEL.INIT_WEIGHTS names.

        Raises:
            ValueError: it is no checkpoint of this method with these settings; the file is named.
        """
        checkpoint = load_checkpoint(path)
        if "state_dict" not in checkpoint:
            raise ValueError(
                f"{path} holds no state_dict, so it is no checkpoint of a run; MODEL.INIT_WEIGHTS takes one of {self.cfg.TRAINER.NAME}"
            )
        try:
            self.learned.load_state_dict(checkpoint["state_dict"])
        except (ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(f"the weights in {path} (MODEL.INIT_WEIGHTS) do not fit this run's model: {str(error)[:2000]}") from error

    def _print_what_is_learned(self) -> None:
        schedules = self.model.prompt_learner.describe()
        if schedules:
            print(schedules)
        named = list(self.learned.named_parameters())
        print(f"Trainable parameters: {sum(p.numel() for _, p in named):,} in {len(named)} arrays")
        for name, parameter in named:
            print(f"  {name} {list(parameter.shape)}")

    def after_train(self) -> None:
        """Test as the engine does, then write what was learned as one small file into the run's folder."""
        super().after_train()
        path = os.path.join(self.output_dir, prompt_file.FILE_NAME)
        print(f"Prompts saved to {prompt_file.of_trainer(self, type(self), self.learned.state_dict()).write(path)}")

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the logits of ``images`` ``[B, 3, R, R]`` with ``labels`` ``[B]``."""
        return F.cross_entropy(self.model(images), labels)

    def compute_gradients(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of ``images`` ``[B, 3, R, R]`` and ``labels`` ``[B]``, detached; its gradients, scaled where PREC is amp, take the place of the former."""
        self.model_zero_grad()
        loss = self.loss(images, labels)
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        return loss.detach()

    def forward_backward(self, batch: Any) -> dict[str, Tensor]:
        """One step on ``batch``; the learning rate moves on after the last batch of an epoch."""
        loss = (self._gradients or self.compute_gradients)(*self.parse_batch_train(batch))
        self.detect_anomaly(loss)
        if self.scaler is None:
            self.model_update()
        else:
            self.scaler.step(self.optim)
            self.scaler.update()
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss}

    def parse_batch_train(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Images ``[B, 3, R, R]`` and labels ``[B]`` of a batch, on the run's device."""
        return batch["img"].to(self.device, non_blocking=True), batch["label"].to(self.device, non_blocking=True)
