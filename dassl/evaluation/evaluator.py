"""Accuracy, macro-F1, per-class results and the confusion matrix of a classifier."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from dassl.utils.files import write_whole

from .build import EVALUATOR_REGISTRY


class EvaluatorBase:
    """What a trainer's test calls: reset, then process for each batch, then evaluate."""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg

    def reset(self) -> None:
        """Forget everything."""
        raise NotImplementedError(f"{type(self).__name__} must define reset()")

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Take in one batch: the model's output and the labels."""
        raise NotImplementedError(f"{type(self).__name__} must define process(mo, gt)")

    def evaluate(self) -> "OrderedDict[str, float]":
        """Results of everything since `reset`; the first is the one that models are compared by, more being better."""
        raise NotImplementedError(f"{type(self).__name__} must define evaluate()")


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Results of single-label classification.

    After `evaluate()`, `summary` holds total, correct and the results, unrounded.

    Args:
        cfg: reads TEST.PER_CLASS_RESULT, TEST.COMPUTE_CMAT and OUTPUT_DIR.
        lab2cname: label -> class name, for the per-class lines.

    Raises:
        ValueError: TEST.PER_CLASS_RESULT without `lab2cname`.
    """

    def __init__(self, cfg: Any, lab2cname: Mapping[int, str] | None = None, **kwargs: Any) -> None:
        super().__init__(cfg)
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise ValueError("TEST.PER_CLASS_RESULT needs the class names: build the evaluator with lab2cname=")
        self._lab2cname = lab2cname
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._predictions: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []
        self._n_nan: list[torch.Tensor] = []
        self.summary: dict[str, float] = {}

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Take in one batch. Everything stays on its device until `evaluate`.

        Args:
            mo: logits [B, C].
            gt: labels [B].

        Raises:
            ValueError: shapes that do not belong together.
        """
        if mo.ndim != 2 or gt.shape != mo.shape[:1]:
            raise ValueError(
                f"the evaluator takes logits [B, C] and labels [B], got {list(mo.shape)} and {list(gt.shape)}; "
                "check what model_inference and parse_batch_test return"
            )
        self._predictions.append(mo.argmax(dim=1))
        self._labels.append(gt.to(mo.device))
        self._n_nan.append(mo.isnan().any(dim=1).sum())

    def evaluate(self) -> "OrderedDict[str, float]":
        """Print the familiar block and return accuracy, error_rate and macro_f1 in percent, unrounded.

        macro_f1 is the mean F1 over the labels that occur among the true ones. With TEST.PER_CLASS_RESULT also
        perclass_accuracy; with TEST.COMPUTE_CMAT also writes cmat.pt.

        Raises:
            ValueError: no sample, or NaN among the logits, with which the numbers would be wrong.
        """
        labels, predictions = self._gather()
        total, correct = len(labels), int((labels == predictions).sum())
        accuracy = 100.0 * correct / total
        counts = _confusion(labels, predictions)
        results = OrderedDict(accuracy=accuracy, error_rate=100.0 - accuracy, macro_f1=_macro_f1(counts))
        print(
            "=> result\n"
            f"* total: {total:,}\n"
            f"* correct: {correct:,}\n"
            f"* accuracy: {accuracy:.1f}%\n"
            f"* error: {results['error_rate']:.1f}%\n"
            f"* macro_f1: {results['macro_f1']:.1f}%"
        )
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._print_per_class(counts)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion(labels, predictions, counts)
        self.summary = {"total": total, "correct": correct, **results}
        return results

    def _gather(self) -> tuple[torch.Tensor, torch.Tensor]:
        n_samples = sum(len(labels) for labels in self._labels)
        if n_samples == 0:
            raise ValueError("nothing to evaluate: no sample was processed; check that the split holds pictures")
        n_nan = int(torch.stack([count.cpu() for count in self._n_nan]).sum())
        if n_nan:
            raise ValueError(
                f"the model gave NaN for {n_nan} of {n_samples} samples, and their predictions would be arbitrary; "
                "try PREC fp32 or amp, or a checkpoint from before the weights went wrong"
            )
        return torch.cat(self._labels).cpu(), torch.cat(self._predictions).cpu()

    def _print_per_class(self, counts: torch.Tensor) -> float:
        assert self._lab2cname is not None, "checked where the evaluator is built"
        print("=> per-class result")
        accuracies = []
        for label in counts.sum(dim=1).nonzero().flatten().tolist():
            total, correct = int(counts[label].sum()), int(counts[label, label])
            accuracies.append(100.0 * correct / total)
            print(f"* class: {label} ({self._lab2cname[label]})\ttotal: {total:,}\tcorrect: {correct:,}\tacc: {accuracies[-1]:.1f}%")
        mean = sum(accuracies) / len(accuracies)
        print(f"* average: {mean:.1f}%")
        return mean

    def _save_confusion(self, labels: torch.Tensor, predictions: torch.Tensor, counts: torch.Tensor) -> None:
        """Write cmat.pt: a row a true label, as shares of it, over the labels that occur among true and predicted ones."""
        present = torch.cat([labels, predictions]).unique()
        rows = counts[present][:, present].double()
        shares = rows / rows.sum(dim=1, keepdim=True).clamp(min=1)
        path = os.path.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        write_whole(path, lambda file: torch.save(shares, file))
        print(f"Confusion matrix is saved to {path}")


def _confusion(labels: torch.Tensor, predictions: torch.Tensor) -> torch.Tensor:
    """Counts [C, C]: row true label, column predicted label; C is one more than the largest of either."""
    n_classes = int(torch.maximum(labels.max(), predictions.max())) + 1
    return torch.bincount(labels * n_classes + predictions, minlength=n_classes**2).reshape(n_classes, n_classes)


def _macro_f1(counts: torch.Tensor) -> float:
    """Mean F1 in percent over the labels that occur among the true ones."""
    hits, n_true, n_predicted = counts.diagonal().double(), counts.sum(dim=1), counts.sum(dim=0)
    f1 = 2 * hits / (n_true + n_predicted).clamp(min=1)
    return 100.0 * float(f1[n_true > 0].mean())
