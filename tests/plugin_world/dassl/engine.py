"""Registry and trainer with the published hooks and no others, and random images of four classes."""

import os
from collections import OrderedDict
from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader

from .data import DatasetWrapper
from .utils import load_checkpoint

CLASSNAMES = ["forest", "river", "annual crop", "sea_or_lake"]


class _Registry(dict):
    def register(self):
        return lambda cls: self.setdefault(cls.__name__, cls)


TRAINER_REGISTRY = _Registry()


def build_trainer(cfg):
    return TRAINER_REGISTRY[cfg.TRAINER.NAME](cfg)


def draw(cfg, n_images, seed, n_views=1):
    images = torch.randn(n_images, 3, *cfg.INPUT.SIZE, generator=torch.Generator().manual_seed(seed))
    views = images if n_views == 1 else [[image] * n_views for image in images]
    return [{"img": image, "label": i % 4, "domain": 0} for i, image in enumerate(views)]


class TrainerX:
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
            os.makedirs(os.path.join(directory, name), exist_ok=True)
            state = {"state_dict": model.state_dict(), "epoch": epoch + 1, "val_result": None}
            for key, part in (("optimizer", self._optims[name]), ("scheduler", self._scheds[name])):
                state[key] = None if part is None else part.state_dict()
            torch.save(state, os.path.join(directory, name, f"model.pth.tar-{epoch + 1}"))
            with open(os.path.join(directory, name, "checkpoint"), "w") as pointer:
                pointer.write(f"model.pth.tar-{epoch + 1}\n")

    def resume_model_if_exist(self, directory):
        epoch = 0
        for name in self._models:
            folder = os.path.join(directory, name)
            if not os.path.exists(folder):
                return 0
            with open(os.path.join(folder, "checkpoint")) as pointer:
                checkpoint = load_checkpoint(os.path.join(folder, pointer.readline().strip()))
            self._models[name].load_state_dict(checkpoint["state_dict"])
            if self._optims[name] is not None:
                self._optims[name].load_state_dict(checkpoint["optimizer"])
                self._scheds[name].load_state_dict(checkpoint["scheduler"])
            epoch = checkpoint["epoch"]
        return epoch

    def load_model(self, directory, epoch=None):
        for name, model in self._models.items():
            path = os.path.join(directory, name, f"model.pth.tar-{epoch}")
            checkpoint = load_checkpoint(path)
            print(f"Load {path} to {name} (val_result={checkpoint['val_result']:.1f})")
            model.load_state_dict(checkpoint["state_dict"])

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

    def model_update(self, names=None):
        for optim in self._optims.values():
            optim.step()

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
