"""The engine: settings, data loading, training loop, optimisation and evaluation.

Holds the import names and the behaviour that trainers and dataset readers of the CoOp family rely on, on
today's PyTorch. It knows no method, no dataset and no CLIP: those register themselves with
`dassl.engine.TRAINER_REGISTRY` and `dassl.data.datasets.DATASET_REGISTRY`.
"""

import os

# Threads of OpenMP that spin while they wait slow each other down a hundredfold where cores are shared.
# OpenMP reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "1.0.0"
