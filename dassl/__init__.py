"""The engine: settings, data loading, training loop, optimisation and evaluation.

Holds the import names and the behaviour that trainers and dataset readers of the CoOp family rely on, on
today's PyTorch. It knows no method, no dataset and no CLIP: those register themselves with
`dassl.engine.TRAINER_REGISTRY` and `dassl.data.datasets.DATASET_REGISTRY`.
"""

__version__ = "1.0.0"
