"""The evaluator on predictions whose results are known."""

import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score

from dassl.evaluation import Classification
from dassl.metrics import compute_accuracy

NAMES = {0: "cat", 1: "dog", 2: "owl", 3: "elk"}


def logits_for(predictions, n_classes=4):
    return torch.nn.functional.one_hot(torch.tensor(predictions), n_classes).float()


def test_the_printed_block(capsys):
    labels = torch.arange(4200) % 2
    predictions = torch.where(torch.arange(4200) % 15 == 0, 1 - labels, labels)
    ev = Classification(NAMES)
    for part in range(0, 4200, 700):
        ev.process(logits_for(predictions[part : part + 700].tolist()), labels[part : part + 700])
    assert list(ev.evaluate()) == ["accuracy", "error_rate", "macro_f1"]
    assert capsys.readouterr().out == (
        "=> result\n* total: 4,200\n* correct: 3,920\n* accuracy: 93.3%\n* error: 6.7%\n* macro_f1: 93.3%\n"
    )


def test_macro_f1_confusion_and_per_class_equal_the_reference(tmp_path, capsys):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=generator)  # class 3 is only ever predicted
    predictions = torch.randint(0, 4, (200,), generator=generator)
    ev = Classification(NAMES, per_class=True, cmat_path=str(tmp_path / "cmat.pt"))
    ev.process(logits_for(predictions.tolist()), labels)
    results = ev.evaluate()
    y_true, y_pred = labels.numpy(), predictions.numpy()
    assert results["macro_f1"] == pytest.approx(
        100 * f1_score(y_true, y_pred, average="macro", labels=[0, 1, 2])
    )
    saved = torch.load(tmp_path / "cmat.pt", weights_only=True)
    assert torch.allclose(saved, torch.tensor(confusion_matrix(y_true, y_pred, normalize="true")))
    assert results["perclass_accuracy"] == pytest.approx(100 * float(saved.diagonal()[:3].mean()))
    out = capsys.readouterr().out
    largest = 100 * labels.bincount().max() / 200
    assert ev.summary["majority"] == pytest.approx(float(largest))
    assert out.count("majority") == 1 and f"* majority: {largest:.1f}% (" in out
    assert f"=> per-class result\n* class: 0 (cat)\ttotal: {int((labels == 0).sum())}\tcorrect:" in out
    assert "* average: " in out


def test_nan_is_an_error_and_reset_forgets():
    ev = Classification(NAMES)
    ev.process(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="NaN for 1 of 2"):
        ev.evaluate()
    ev.reset()
    ev.process(logits_for([1]), torch.tensor([1]))
    assert ev.evaluate()["accuracy"] == 100.0


def test_top_k_accuracy():
    logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 3.0, 1.0]])
    labels = torch.tensor([0, 1, 0, 1])
    top1, top2, top9 = compute_accuracy((logits, "features"), labels, topk=(1, 2, 9))
    assert (top1.item(), top2.item(), top9.item()) == (50.0, 75.0, 100.0)
    assert top1.shape == (1,)
