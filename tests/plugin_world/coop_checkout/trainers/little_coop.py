"""A trainer in the style of CoOp's: learned words, with those of the class names as a buffer.

The engine is under test, so a linear map of the pixels and sums of word vectors stand for CLIP's towers.
"""

import os.path as osp

import torch
import torch.nn as nn
from torch.cuda.amp import GradScaler, autocast
from torch.nn import functional as F

from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_checkpoint, load_pretrained_weights

WIDTH = 16


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, words):
        super().__init__()
        self.ctx = nn.Parameter(0.02 * torch.randn(cfg.TRAINER.LITTLECOOP.N_CTX, WIDTH))
        names = [words(torch.tensor(list(name.encode()))).mean(0) for name in classnames]
        self.register_buffer("token_suffix", torch.stack(names).detach())

    def forward(self):
        return self.ctx.sum(0) * self.token_suffix + self.token_suffix


class CustomCLIP(nn.Module):
    def __init__(self, cfg, classnames):
        super().__init__()
        with torch.random.fork_rng():  # the same frozen towers in every run
            torch.manual_seed(0)
            self.image_encoder = nn.Linear(3 * cfg.INPUT.SIZE[0] * cfg.INPUT.SIZE[1], WIDTH)
            words = nn.Embedding(256, WIDTH)
        self.prompt_learner = PromptLearner(cfg, classnames, words)

    def forward(self, image):
        image_features = self.image_encoder(image.flatten(1).type(self.prompt_learner.ctx.dtype))
        text_features = self.prompt_learner()
        image_features = image_features / image_features.norm(dim=-1, keepdim=True)
        text_features = text_features / text_features.norm(dim=-1, keepdim=True)
        return 20 * image_features @ text_features.t()


@TRAINER_REGISTRY.register()
class LittleCoOp(TrainerX):
    def check_cfg(self, cfg):
        assert cfg.TRAINER.LITTLECOOP.PREC in ["fp16", "fp32", "amp"]

    def build_model(self):
        cfg = self.cfg
        self.model = CustomCLIP(cfg, self.dm.dataset.classnames)
        if cfg.TRAINER.LITTLECOOP.PREC == "fp16":
            self.model.half()
        for name, param in self.model.named_parameters():
            if "prompt_learner" not in name:
                param.requires_grad_(False)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model.prompt_learner, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        self.optim = build_optimizer(self.model.prompt_learner, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("prompt_learner", self.model.prompt_learner, self.optim, self.sched)
        self.scaler = GradScaler() if cfg.TRAINER.LITTLECOOP.PREC == "amp" else None

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        if self.cfg.TRAINER.LITTLECOOP.PREC == "amp":
            with autocast():
                output = self.model(image)
                loss = F.cross_entropy(output, label)
            self.optim.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optim)
            self.scaler.update()
        else:
            output = self.model(image)
            loss = F.cross_entropy(output, label)
            self.model_backward_and_update(loss)
        loss_summary = {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return loss_summary

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def load_model(self, directory, epoch=None):
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        model_file = "model-best.pth.tar" if epoch is None else "model.pth.tar-" + str(epoch)
        for name in self.get_model_names():
            model_path = osp.join(directory, name, model_file)
            if not osp.exists(model_path):
                raise FileNotFoundError(f'Model not found at "{model_path}"')
            checkpoint = load_checkpoint(model_path)
            state_dict = checkpoint["state_dict"]
            for key in ("token_prefix", "token_suffix"):  # of the classes that were trained on
                if key in state_dict:
                    del state_dict[key]
            print(f'Loading weights to {name} from "{model_path}" (epoch = {checkpoint["epoch"]})')
            self._models[name].load_state_dict(state_dict, strict=False)
