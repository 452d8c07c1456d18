"""A small world for the engine: a reader and a trainer in CoOp's style, and runs of them."""

import os

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dassl.config import CfgNode, get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.engine import TRAINER_REGISTRY, TrainerX, build_trainer
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import read_json, set_random_seed


@DATASET_REGISTRY.register(force=True)
class Satellite(DatasetBase):
    """A reader as CoOp's are written, of the small EuroSAT: five classes with 4, 1 and 3 images each."""

    dataset_dir = "eurosat"

    def __init__(self, cfg):
        folder = os.path.join(cfg.DATASET.ROOT, self.dataset_dir)
        train, val, test = (
            [Datum(os.path.join(folder, "2750", path), label, classname=name) for path, label, name in rows]
            for rows in read_json(os.path.join(folder, "split_zhou_EuroSAT.json")).values()
        )
        train = self.generate_fewshot_dataset(train, num_shots=cfg.DATASET.NUM_SHOTS)
        super().__init__(train_x=train, val=val if cfg.DATASET.VAL_PERCENT else None, test=test)


class TinyNet(nn.Module):
    """A convolution, dropout (which draws random numbers in training) and a classifier."""

    def __init__(self, n_classes):
        super().__init__()
        self.prompt_learner = nn.Conv2d(3, 4, 3)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(4, n_classes)

    def forward(self, image):
        features = self.prompt_learner(image).relu().mean((2, 3))
        return self.classifier(self.dropout(features))


@TRAINER_REGISTRY.register(force=True)
class TinyCoOp(TrainerX):
    """A trainer as CoOp's is written."""

    def build_model(self):
        self.model = TinyNet(len(self.dm.dataset.classnames))
        self.model.to(self.device)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model, self.optim, self.sched)
        self.lrs = []

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        self.lrs.append(self.get_current_lr())
        output = self.model(image)
        loss = F.cross_entropy(output, label)
        self.model_backward_and_update(loss)
        loss_summary = {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return loss_summary

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)


def config(root, output_dir, options=(), settings=None):
    """The config of a short run on the small images; `settings` are those of a method."""
    cfg = get_cfg_default()
    cfg.TRAINER.METHOD = CfgNode(settings)
    given = {
        "DATASET.NAME": "Satellite", "DATASET.ROOT": str(root), "OUTPUT_DIR": str(output_dir),
        "SEED": 1, "USE_CUDA": False, "TRAINER.NAME": "TinyCoOp", "TRAIN.PRINT_FREQ": 2,
        "INPUT.SIZE": (8, 8), "INPUT.TRANSFORMS": ("random_resized_crop", "random_flip", "normalize"),
        "DATALOADER.NUM_WORKERS": 0, "DATALOADER.TRAIN_X.BATCH_SIZE": 6, "DATALOADER.TEST.BATCH_SIZE": 4,
        "OPTIM.NAME": "sgd", "OPTIM.LR": 0.1, "OPTIM.MAX_EPOCH": 3, "OPTIM.LR_SCHEDULER": "cosine",
        "OPTIM.WARMUP_EPOCH": 1, "OPTIM.WARMUP_TYPE": "constant", "OPTIM.WARMUP_CONS_LR": 1e-5,
    }  # fmt: skip
    cfg.merge_from_list([word for pair in given.items() for word in pair])
    cfg.merge_from_list(list(options))
    cfg.freeze()
    return cfg


@pytest.fixture
def build(eurosat):
    """build(output_dir, *options, **settings) -> a trainer, seeded as its config says."""

    def make(output_dir, *options, **settings):
        cfg = config(eurosat, output_dir, options, settings)
        set_random_seed(cfg.SEED)
        return build_trainer(cfg)

    return make


def same(left, right):
    """Whether two trees of dicts and lists hold equal tensors and numbers."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right
