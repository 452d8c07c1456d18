"""A stand-in of the published Dassl: its interface as trainers see it, and nothing beyond that.

This one module is all modules of `dassl`. The data are random images of four classes.
"""

import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import torch
import yaml
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader
from yacs.config import CfgNode

for part in ("", ".config", ".data", ".data.transforms", ".engine", ".optim", ".utils"):
    sys.modules[f"dassl{part}"] = sys.modules[__name__]

CLASSNAMES = ["forest", "river", "annual crop", "sea_or_lake"]
# What the stand-in reads and the committed YAMLs set.
DEFAULTS = """
OUTPUT_DIR: ./output
SEED: -1
VERBOSE: true
INPUT:
  SIZE: !!python/tuple [224, 224]
  INTERPOLATION: bilinear
  TRANSFORMS: !!python/tuple []
  RRCROP_SCALE: !!python/tuple [0.08, 1.0]
  PIXEL_MEAN: [0.485, 0.456, 0.406]
  PIXEL_STD: [0.229, 0.224, 0.225]
DATASET: {NAME: "", NUM_SHOTS: -1}
DATALOADER: {NUM_WORKERS: 4, K_TRANSFORMS: 1, TRAIN_X: {BATCH_SIZE: 32}, TEST: {BATCH_SIZE: 32}}
MODEL: {INIT_WEIGHTS: "", BACKBONE: {NAME: ""}}
OPTIM: {NAME: adam, LR: 0.0003, WEIGHT_DECAY: 0.0005, MOMENTUM: 0.9, LR_SCHEDULER: single_step, MAX_EPOCH: 10,
        WARMUP_EPOCH: -1, WARMUP_TYPE: linear, WARMUP_CONS_LR: 0.00001}
TRAIN: {PRINT_FREQ: 10}
TEST: {SPLIT: test}
TRAINER: {NAME: ""}
"""


def get_cfg_default():
    return CfgNode(yaml.load(DEFAULTS, Loader=yaml.FullLoader))


def load_checkpoint(fpath):
    return torch.load(fpath, map_location="cpu")


def build_transform(cfg, is_train=True, choices=None):
    return None


class DatasetWrapper(list):
    """Of a list of images, which are tensors already."""

    def __init__(self, cfg, data_source, transform=None, is_train=False):
        super().__init__(data_source)


def build_optimizer(model, optim_cfg, param_groups=None):
    if param_groups is None:
        param_groups = model.parameters() if isinstance(model, nn.Module) else model
    c = optim_cfg
    return torch.optim.SGD(param_groups, lr=c.LR, momentum=c.MOMENTUM, weight_decay=c.WEIGHT_DECAY)


def build_lr_scheduler(optimizer, optim_cfg):
    return CosineAnnealingLR(optimizer, float(optim_cfg.MAX_EPOCH))


class Registry(dict):
    def register(self):
        return lambda cls: self.setdefault(cls.__name__, cls)


TRAINER_REGISTRY = Registry()


def draw(cfg, n_images, seed, n_views=1):
    images = torch.randn(n_images, 3, *cfg.INPUT.SIZE, generator=torch.Generator().manual_seed(seed))
    views = images if n_views == 1 else [[image] * n_views for image in images]
    return [{"img": image, "label": i % 4, "domain": 0} for i, image in enumerate(views)]


class TrainerX:
    """A trainer with the published hooks and no others."""

    def __init__(self, cfg):
        self._models, self._optims, self._scheds = OrderedDict(), OrderedDict(), OrderedDict()
        self.check_cfg(cfg)
        self.cfg, self.output_dir = cfg, cfg.OUTPUT_DIR
        self.device = torch.device("cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.build_data_loader()
        self.build_model()

    def build_data_loader(self):
        cfg = self.cfg
        train_x, test = draw(cfg, 4, 1, cfg.DATALOADER.K_TRANSFORMS), draw(cfg, 8, 2)
        names = {"classnames": CLASSNAMES, "lab2cname": dict(enumerate(CLASSNAMES)), "num_classes": 4}
        self.dm = SimpleNamespace(dataset=SimpleNamespace(train_x=draw(cfg, 4, 1), test=test, **names))
        self.num_classes, self.lab2cname = 4, names["lab2cname"]
        self.train_loader_x = DataLoader(DatasetWrapper(cfg, train_x), cfg.DATALOADER.TRAIN_X.BATCH_SIZE)
        self.val_loader = None
        self.test_loader = DataLoader(DatasetWrapper(cfg, test), cfg.DATALOADER.TEST.BATCH_SIZE)

    def check_cfg(self, cfg):
        pass

    def register_model(self, name="model", model=None, optim=None, sched=None):
        self._models[name], self._optims[name], self._scheds[name] = model, optim, sched

    def save_model(self, epoch, directory):
        for name, model in self._models.items():
            parts = {"state_dict": model, "optimizer": self._optims[name], "scheduler": self._scheds[name]}
            state = {key: None if part is None else part.state_dict() for key, part in parts.items()}
            path = Path(directory, name, f"model.pth.tar-{epoch + 1}")
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({**state, "epoch": epoch + 1, "val_result": None}, path)

    def resume_model_if_exist(self, directory):
        epoch = 0
        for name, model in self._models.items():
            for path in sorted(Path(directory, name).glob("model.pth.tar-*"))[-1:]:
                checkpoint = load_checkpoint(path)
                model.load_state_dict(checkpoint["state_dict"])
                if self._optims[name] is not None:
                    self._optims[name].load_state_dict(checkpoint["optimizer"])
                    self._scheds[name].load_state_dict(checkpoint["scheduler"])
                epoch = checkpoint["epoch"]
        return epoch

    def set_model_mode(self, mode="train", names=None):
        for model in self._models.values():
            model.train() if mode == "train" else model.eval()

    def update_lr(self, names=None):
        for sched in self._scheds.values():
            sched.step()

    def detect_anomaly(self, loss):
        if not torch.isfinite(loss).all():
            raise FloatingPointError("Loss is infinite or NaN!")

    def model_zero_grad(self, names=None):
        for optim in self._optims.values():
            optim.zero_grad()

    def train(self):
        self.before_train()
        for self.epoch in range(self.start_epoch, self.max_epoch):  # noqa: B020, as published
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self):
        self.start_epoch = self.resume_model_if_exist(self.output_dir)

    def run_epoch(self):
        self.set_model_mode("train")
        self.num_batches = len(self.train_loader_x)
        for self.batch_idx, batch in enumerate(self.train_loader_x):  # noqa: B020, as published
            self.forward_backward(batch)

    def after_epoch(self):
        self.save_model(self.epoch, self.output_dir)

    def after_train(self):
        self.test()

    @torch.no_grad()
    def test(self, split=None):
        self.set_model_mode("eval")
        n_correct = 0
        for batch in self.test_loader:
            images, labels = self.parse_batch_test(batch)
            n_correct += int((self.model_inference(images).argmax(dim=1) == labels).sum())
        return 100 * n_correct / 8

    def model_inference(self, input):
        return self.model(input)

    def parse_batch_test(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)
