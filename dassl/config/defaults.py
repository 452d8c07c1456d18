"""Every setting of the engine with its default; methods and datasets add their own in `extend_cfg`.

Settings marked "unused" are those of the published Dassl that config files and train.py files set; nothing
reads them.
"""

from .node import CfgNode

_INPUT = {
    "SIZE": (224, 224),  # height, width in pixels
    "INTERPOLATION": "bilinear",  # bilinear, bicubic or nearest, wherever an image is resized
    "TRANSFORMS": (),  # names of dassl.data.transforms.TRANSFORM_NAMES
    "PIXEL_MEAN": [0.485, 0.456, 0.406],  # ImageNet's; CLIP's configs set CLIP's
    "PIXEL_STD": [0.229, 0.224, 0.225],
    "CROP_PADDING": 4,  # random_crop, pixels on each side
    "RRCROP_SCALE": (0.08, 1.0),  # random_resized_crop, range of the crop's share of the area
    "CUTOUT_N": 1,  # unused
    "CUTOUT_LEN": 16,  # unused
    "GN_MEAN": 0.0,  # unused
    "GN_STD": 0.15,  # unused
    "RANDAUGMENT_N": 2,  # randaugment (torchvision's, not Dassl's own), operations an image
    "RANDAUGMENT_M": 10,  # randaugment, strength in 0..30
    "COLORJITTER_B": 0.4,  # colorjitter: brightness, contrast, saturation, hue
    "COLORJITTER_C": 0.4,
    "COLORJITTER_S": 0.4,
    "COLORJITTER_H": 0.1,
    "RGS_P": 0.2,  # randomgrayscale, probability
    "GB_P": 0.5,  # gaussian_blur, probability
    "GB_K": 21,  # gaussian_blur, kernel side in pixels, odd
}

_DATASET = {
    "ROOT": "",  # folder that holds all datasets
    "NAME": "",  # a name of dassl.data.datasets.DATASET_REGISTRY
    "SOURCE_DOMAINS": (),  # unused
    "TARGET_DOMAINS": (),  # unused
    "NUM_LABELED": -1,  # unused
    "NUM_SHOTS": -1,  # training images a class; below 1: all of them
    "VAL_PERCENT": 0.1,  # share held out for validation, for readers that split themselves
    "STL10_FOLD": -1,  # unused
    "CIFAR_C_TYPE": "",  # unused
    "CIFAR_C_LEVEL": 1,  # unused
    "ALL_AS_UNLABELED": False,  # unused
}

_TRAIN_LOADER = {
    "SAMPLER": "RandomSampler",  # or SequentialSampler
    "BATCH_SIZE": 32,
    "N_DOMAIN": 0,  # unused
    "N_INS": 16,  # unused
}

_DATALOADER = {
    "NUM_WORKERS": 4,  # loading processes, at most one a core; results do not depend on it
    "K_TRANSFORMS": 1,  # views of a training image; with 2 or more, a batch's img is the list of them
    "TRAIN_X": dict(_TRAIN_LOADER),
    "TRAIN_U": {"SAME_AS_X": True, **_TRAIN_LOADER},  # unused
    "TEST": {"SAMPLER": "SequentialSampler", "BATCH_SIZE": 32},
}

_MODEL = {
    "INIT_WEIGHTS": "",  # file with weights to start from
    "BACKBONE": {"NAME": "", "PRETRAINED": True},  # PRETRAINED: unused
    # unused
    "HEAD": {"NAME": "", "HIDDEN_LAYERS": (), "ACTIVATION": "relu", "BN": True, "DROPOUT": 0.0},
}

_OPTIM = {
    "NAME": "adam",  # a name of dassl.optim.optimizer.OPTIMIZERS
    "LR": 0.0003,
    "WEIGHT_DECAY": 5e-4,
    "MOMENTUM": 0.9,  # sgd and rmsprop
    "SGD_DAMPNING": 0,
    "SGD_NESTEROV": False,
    "RMSPROP_ALPHA": 0.99,
    "ADAM_BETA1": 0.9,  # adam, amsgrad, radam, adamw
    "ADAM_BETA2": 0.999,
    "ADAM_EPS": 1e-8,
    "LR_SCHEDULER": "single_step",  # single_step, multi_step or cosine; steps once an epoch
    "STEPSIZE": (-1,),  # single_step: epochs between steps, -1: MAX_EPOCH; multi_step: their epochs, -1: none
    "GAMMA": 0.1,
    "MAX_EPOCH": 10,
    "WARMUP_EPOCH": -1,  # below 1: no warm-up
    "WARMUP_TYPE": "linear",  # linear or constant
    "WARMUP_CONS_LR": 1e-5,
    "WARMUP_MIN_LR": 1e-5,
    "WARMUP_RECOUNT": True,  # the schedule after the warm-up counts its epochs from 0
}

_TRAIN = {
    "CHECKPOINT_FREQ": 0,  # keep the checkpoint of every so many epochs; below 1: only the last epoch's
    "PRINT_FREQ": 10,  # batches between printed lines
    "COUNT_ITER": "train_x",  # unused
    "WANDB_PROJECT": "",  # Weights & Biases project that gets tensorboard's scalars; needs wandb
}

_TEST = {
    "EVALUATOR": "Classification",  # unused
    "PER_CLASS_RESULT": False,
    "COMPUTE_CMAT": False,  # save the confusion matrix as cmat.pt in OUTPUT_DIR
    "NO_TEST": False,
    "SPLIT": "test",  # test or val
    "FINAL_MODEL": "last_step",  # last_step or best_val; best_val evaluates on val after every epoch
}


def get_cfg_default() -> CfgNode:
    """A fresh copy of the default config."""
    return CfgNode(
        {
            "VERSION": 1,
            "OUTPUT_DIR": "./output",
            "RESUME": "",  # folder of a run to go on with; empty: OUTPUT_DIR, if it holds one
            "SEED": -1,  # below 0: not seeded
            "USE_CUDA": True,  # when there is a GPU
            "NUM_THREADS": 0,  # of PyTorch on the CPU; 0: its own choice, one a core, or OMP_NUM_THREADS
            "DETERMINISTIC": False,  # the same numbers each time on a GPU too, at some cost
            "VERBOSE": False,  # log every setting and every learned array
            "INPUT": _INPUT,
            "DATASET": _DATASET,
            "DATALOADER": _DATALOADER,
            "MODEL": _MODEL,
            "OPTIM": _OPTIM,
            "TRAIN": _TRAIN,
            "TEST": _TEST,
            "TRAINER": {"NAME": ""},  # a name of dassl.engine.TRAINER_REGISTRY
        }
    )
