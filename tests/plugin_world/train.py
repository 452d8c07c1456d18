"""A checkout's `train.py`, changed as docs/PLUGIN.md says; trains, resumes, tests and reloads every method.

Usage: train.py OUTPUT_DIR  (prints a JSON dict, method -> what was seen)
"""

import json
import sys
from functools import partial
from pathlib import Path

import published_dassl  # isort: skip  # before trainers, which import dassl
import torch

import trainers


def setup_cfg(method, output_dir):
    cfg = published_dassl.get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.DATASET.SUBSAMPLE_CLASSES = "base"
    names = (kind.__name__ for kind in published_dassl.TRAINER_REGISTRY[method].__mro__)  # a variant's method
    paths = (Path(f"configs/trainers/{name}/tiny_shapes.yaml") for name in names)
    cfg.merge_from_file(str(next(path for path in paths if path.is_file())))
    cfg.TRAINER.NAME = method
    cfg.OUTPUT_DIR = f"{output_dir}/{method}"
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 2
    cfg.DATALOADER.NUM_WORKERS = 0
    if method != "LinearProbe":  # which takes no steps
        cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR = 2, 1e-2
    cfg.freeze()
    return cfg


def arrays(trainer):
    return {name: v.clone() for model in trainer._models.values() for name, v in model.state_dict().items()}


def logits(trainer):
    trainer.set_model_mode("eval")
    with torch.no_grad():
        return torch.cat([trainer.model_inference(batch["img"]) for batch in trainer.test_loader])


def train_resume_reload(build):
    """Two steps, two more in a second run that resumes the first, and a third run that tests the second's."""
    first = build()
    n_epochs, before = first.max_epoch, arrays(first)
    first.max_epoch = 1  # as if it had been stopped
    first.train()
    after = arrays(first)
    second = build()
    second.train()
    third = build()
    untrained = logits(third)
    third.load_model(second.output_dir, epoch=n_epochs)
    return {
        "all_moved": not any(torch.equal(before[name], after[name]) for name in before) and len(before) > 0,
        "start_epoch": second.start_epoch,
        "same_logits": torch.equal(logits(third), logits(second)),
        "logits_changed": not torch.equal(logits(third), untrained),
    }


seen = {}
for method, kind in published_dassl.TRAINER_REGISTRY.items():
    torch.manual_seed(1)
    cfg = setup_cfg(method, sys.argv[1])
    if method.startswith("ZeroshotCLIP"):
        seen[method] = {"tested": kind(cfg).test() <= 100}
    else:
        seen[method] = train_resume_reload(partial(kind, cfg))
print(json.dumps(seen))
