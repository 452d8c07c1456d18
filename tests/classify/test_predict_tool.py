"""tools/predict.py: a table, JSON and CSV of the same predictions; what cannot be read is named, and the exit status says so."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from classify import ClassScore, Prediction, PromptClassifier, explain, listing
from tests.trainers.small_runs import NAMES
from tools import predict


@pytest.fixture
def tool(prompts: Callable, weights: dict) -> Callable[..., int]:
    """Runs the tool on a prompt file of MPL."""

    def run(*words: object) -> int:
        return predict.main([str(word) for word in (prompts("MPL")[1], "--device", "cpu", *words, "--backbone", weights["narrow"])])

    return run


@pytest.fixture
def pictures(eurosat: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, source in enumerate(sorted((eurosat / "eurosat" / "2750").rglob("test_0.png"))[:3]):
        shutil.copy(source, folder / f"{i}.png")
    return folder


def printed(capsys: pytest.CaptureFixture) -> tuple[str, str]:
    """Standard output, less the notes of the loading of weights, and standard error."""
    out, err = capsys.readouterr()
    return "".join(line for line in out.splitlines(keepends=True) if not line.startswith("NOTE: ")), err


def test_table_json_and_csv_say_the_same(
    tool: Callable, pictures: Path, prompts: Callable, weights: dict, capsys: pytest.CaptureFixture
) -> None:
    expected = PromptClassifier.load(prompts("MPL")[1], backbone=weights["narrow"], device="cpu").classify(pictures, top=2)
    printed(capsys)
    assert tool(pictures, "--top", 2, "--json") == 0
    said = json.loads(printed(capsys)[0])
    assert said["method"] == "MPL" and said["classes"] == NAMES and said["unreadable"] == []
    assert [picture["picture"] for picture in said["pictures"]] == [str(pictures / f"{i}.png") for i in range(3)]
    scores = [score for prediction in expected for score in prediction.scores]
    found = [entry for picture in said["pictures"] for entry in picture["predictions"]]
    assert [entry["class"] for entry in found] == [score.name for score in scores]
    assert [entry["probability"] for entry in found] == pytest.approx([score.probability for score in scores], abs=1e-6)
    assert tool(pictures, "--top", 2, "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(printed(capsys)[0])))
    assert [row["class"] for row in rows] == [score.name for score in scores]
    assert [row["rank"] for row in rows] == ["1", "2"] * 3
    assert [float(row["logit"]) for row in rows] == pytest.approx([score.logit for score in scores], abs=1e-4)
    assert tool(pictures, "--top", 2) == 0
    header, *lines = printed(capsys)[0].splitlines()
    assert header.split() == ["picture", "class", "%", "2.", "%"]
    for line, prediction in zip(lines, expected, strict=True):
        cells = [cell for score in prediction.scores for cell in (*score.name.split(), f"{100 * score.probability:.1f}")]
        assert line.split() == [prediction.source, *cells]


def test_class_names_come_from_a_file(tool: Callable, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "names.txt").write_bytes("\ufeffa heron\r\n\r\na stork, white\r\n".encode())
    assert tool(pictures / "0.png", pictures / "1.png", "--classes", tmp_path / "names.txt", "--json") == 0
    said = json.loads(printed(capsys)[0])
    assert said["classes"] == ["a heron", "a stork, white"] and len(said["pictures"]) == 2
    (tmp_path / "names.txt").write_bytes(b"caf\xe9\n")
    assert tool(pictures, "--classes", tmp_path / "names.txt") == 2
    assert "names.txt is no UTF-8 text" in printed(capsys)[1]
    assert tool(pictures, "--classes", tmp_path / "none.txt") == 2
    assert "no file of class names at" in printed(capsys)[1]
    (tmp_path / "names.txt").write_text("heron\nheron\n")
    assert tool(pictures, "--classes", tmp_path / "names.txt") == 2
    assert "names.txt: the class names 'heron' and 'heron' read alike" in printed(capsys)[1]


def test_pictures_that_cannot_be_read_are_skipped_and_named(tool: Callable, pictures: Path, capsys: pytest.CaptureFixture) -> None:
    (pictures / "broken.jpg").write_text("no picture")
    assert tool(pictures, "--json") == predict.SOME_UNREADABLE == 1
    out, err = printed(capsys)
    said = json.loads(out)
    assert len(said["pictures"]) == 3 and said["unreadable"][0]["source"] == str(pictures / "broken.jpg")
    assert f"Skipped {pictures / 'broken.jpg'}: cannot decode" in err and "1 of 4 pictures could not be read" in err
    assert tool(pictures / "broken.jpg") == 1
    assert printed(capsys)[0] == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.jpg",), "Error: no picture or folder at nowhere.jpg"),
        ((".", "--top", "0"), "Error: --top is 0 and --batch-size is 32; both take 1 or more"),
        ((".", "--explain", __file__), "for the folder of its pictures: put it at the end"),
    ],
)
def test_wrong_arguments_are_told(words: tuple, message: str, tool: Callable, capsys: pytest.CaptureFixture) -> None:
    assert tool(*words) == 2
    out, err = printed(capsys)
    assert message in err and out == "" and "Traceback" not in err


@pytest.mark.parametrize("name", ["cuda:99", "foo", "meta", "cuda:"])
def test_a_device_that_is_not_here_is_told(
    name: str, tool: Callable, prompts: Callable, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    prompts("MPL")  # made before, where it has not been
    printed(capsys)
    monkeypatch.setattr("classify.classifier.clip.load", lambda name: pytest.fail("the CLIP was loaded before the device was looked for"))
    assert tool(pictures, "--device", name) == 2
    out, err = printed(capsys)
    assert err.startswith(f"Error: there is no device '{name}' here; seen: cpu") and len(err.splitlines()) == 1 and out == ""


def test_a_wrong_prompt_file_is_told(pictures: Path, capsys: pytest.CaptureFixture) -> None:
    assert predict.main([str(pictures / "0.png"), str(pictures)]) == 2
    assert "0.png is no prompt file" in capsys.readouterr().err


def test_each_picture_is_explained_in_a_file_of_its_own(
    tool: Callable, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    made, plain_clip = [], explain.plain_clip
    monkeypatch.setattr(explain, "plain_clip", lambda *args: made.append(args) or plain_clip(*args))
    (pictures / "below").mkdir()
    shutil.copy(pictures / "0.png", pictures / "below" / "0.png")
    assert tool(pictures / "0.png", pictures / "below", "--explain", tmp_path / "seen") == 0
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["0-2.png", "0.png"]
    assert printed(capsys)[1].count("Explained ") == 2
    assert len(made) == 1, "the class names are encoded once for all pictures"


def test_an_interruption_is_told_in_a_line(
    tool: Callable, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PromptClassifier, "stream", interrupted)
    assert tool(pictures) == 130
    out, err = printed(capsys)
    assert out == "" and err == "Interrupted: tables, JSON and CSV are printed when all pictures are classified\n"


def test_a_reader_that_has_read_enough_is_no_error(
    tool: Callable, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert tool(pictures) == 0
        monkeypatch.undo()
    assert printed(capsys)[1] == ""


def test_a_narrow_terminal_gets_a_row_a_class_and_no_cut_cell() -> None:
    scores = (ClassScore("a heron of a long name", 0.75, 2.0), ClassScore("[bold]stork", 0.25, 1.0))
    predictions = [Prediction("a/folder/of/a/long/name/picture.png", scores), Prediction("b.png", scores)]
    wide, narrow = listing.table(predictions), listing.table(predictions, 50)
    assert listing.table(predictions, 200) == wide
    assert len(wide.splitlines()) == 3 and "a heron of a long name  75.0  [bold]stork  25.0" in wide
    assert max(map(len, narrow.splitlines())) <= 50 and "…" not in narrow
    assert narrow.count("a heron of a long name") == narrow.count("[bold]stork") == 2
