"""A reader in the style of CoOp's: split file, pickled few-shot cache, base and new classes."""

import math
import os
import pickle

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.utils import mkdir_if_missing, read_json


@DATASET_REGISTRY.register()
class Little(DatasetBase):
    dataset_dir = "little"

    def __init__(self, cfg):
        root = os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT))
        self.dataset_dir = os.path.join(root, self.dataset_dir)
        self.image_dir = os.path.join(self.dataset_dir, "images")
        self.split_path = os.path.join(self.dataset_dir, "split_little.json")
        self.split_fewshot_dir = os.path.join(self.dataset_dir, "split_fewshot")
        mkdir_if_missing(self.split_fewshot_dir)
        train, val, test = self.read_split(self.split_path, self.image_dir)
        num_shots = cfg.DATASET.NUM_SHOTS
        if num_shots >= 1:
            cache = os.path.join(self.split_fewshot_dir, f"shot_{num_shots}-seed_{cfg.SEED}.pkl")
            if os.path.exists(cache):
                print(f"Loading preprocessed few-shot data from {cache}")
                with open(cache, "rb") as file:
                    data = pickle.load(file)
                    train, val = data["train"], data["val"]
            else:
                train = self.generate_fewshot_dataset(train, num_shots=num_shots)
                val = self.generate_fewshot_dataset(val, num_shots=min(num_shots, 4))
                with open(cache, "wb") as file:
                    pickle.dump({"train": train, "val": val}, file, protocol=pickle.HIGHEST_PROTOCOL)
        train, val, test = self.subsample_classes(train, val, test, subsample=cfg.DATASET.SUBSAMPLE_CLASSES)
        super().__init__(train_x=train, val=val, test=test)

    @staticmethod
    def read_split(path, image_dir):
        split = read_json(path)
        return [
            [
                Datum(os.path.join(image_dir, impath), int(label), classname=name)
                for impath, label, name in split[part]
            ]
            for part in ("train", "val", "test")
        ]

    @staticmethod
    def subsample_classes(*parts, subsample="all"):
        if subsample == "all":
            return parts
        labels = sorted({item.label for item in parts[0]})
        n_base = math.ceil(len(labels) / 2)
        chosen = labels[:n_base] if subsample == "base" else labels[n_base:]
        new_label = {label: i for i, label in enumerate(chosen)}
        return [
            [Datum(i.impath, new_label[i.label], classname=i.classname) for i in part if i.label in new_label]
            for part in parts
        ]
