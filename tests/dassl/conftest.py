"""A small world for the engine: images of three colours, a reader and a trainer in CoOp's style, and runs."""

import os

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from dassl.config import CfgNode, get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.engine import TRAINER_REGISTRY, TrainerX, build_trainer
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import set_random_seed

COLOURS = {"red thing": (200, 40, 40), "green thing": (40, 200, 40), "blue thing": (40, 40, 200)}


@DATASET_REGISTRY.register(force=True)
class Colours(DatasetBase):
    """A reader as CoOp's are written; the last image of a class is for val, the two before for test."""

    dataset_dir = "colours"

    def __init__(self, cfg):
        root = os.path.join(cfg.DATASET.ROOT, self.dataset_dir)
        items = {"train": [], "val": [], "test": []}
        for label, name in enumerate(COLOURS):
            for index in range(8):
                split = "val" if index == 7 else "test" if index > 4 else "train"
                path = os.path.join(root, name, f"{index}.png")
                items[split].append(Datum(impath=path, label=label, classname=name))
        train = self.generate_fewshot_dataset(items["train"], num_shots=cfg.DATASET.NUM_SHOTS)
        val = items["val"] if cfg.DATASET.VAL_PERCENT else None
        super().__init__(train_x=train, val=val, test=items["test"])


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
        "DATASET.NAME": "Colours", "DATASET.ROOT": str(root), "OUTPUT_DIR": str(output_dir),
        "SEED": 1, "USE_CUDA": False, "TRAINER.NAME": "TinyCoOp", "TRAIN.PRINT_FREQ": 2,
        "INPUT.SIZE": (8, 8), "INPUT.TRANSFORMS": ("random_resized_crop", "random_flip", "normalize"),
        "DATALOADER.NUM_WORKERS": 0, "DATALOADER.TRAIN_X.BATCH_SIZE": 4, "DATALOADER.TEST.BATCH_SIZE": 4,
        "OPTIM.NAME": "sgd", "OPTIM.LR": 0.1, "OPTIM.MAX_EPOCH": 3, "OPTIM.LR_SCHEDULER": "cosine",
        "OPTIM.WARMUP_EPOCH": 1, "OPTIM.WARMUP_TYPE": "constant", "OPTIM.WARMUP_CONS_LR": 1e-5,
    }  # fmt: skip
    cfg.merge_from_list([word for pair in given.items() for word in pair])
    cfg.merge_from_list(list(options))
    cfg.freeze()
    return cfg


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """DATASET.ROOT with eight noisy images of each colour, 12 x 10 pixels."""
    folder, generator = tmp_path_factory.mktemp("data"), torch.Generator().manual_seed(5)
    for name, colour in COLOURS.items():
        (folder / "colours" / name).mkdir(parents=True)
        for index in range(8):
            noise = torch.randint(-30, 30, (10, 12, 3), generator=generator)
            pixels = (torch.tensor(colour) + noise).clamp(0, 255).to(torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / "colours" / name / f"{index}.png")
    return folder


@pytest.fixture
def build(root):
    """build(output_dir, *options, **settings) -> a trainer, seeded as its config says."""

    def make(output_dir, *options, **settings):
        cfg = config(root, output_dir, options, settings)
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
