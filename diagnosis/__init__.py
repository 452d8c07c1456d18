"""What is wrong with a data folder or a weights file, and how to cure it; tools/doctor.py is its command line.

Nothing is downloaded, moved or mended here. `dataset.py` examines one dataset, `layouts.py` recognises pictures that lie elsewhere,
`weights.py` examines weights, `report.py` shows the outcome; the facts stand in `published.yaml` and `layouts.yaml`.
"""

from .dataset import inspect_dataset
from .findings import DatasetReport, Finding, WeightsReport
from .weights import inspect_weights

__all__ = ["DatasetReport", "Finding", "WeightsReport", "inspect_dataset", "inspect_weights"]
