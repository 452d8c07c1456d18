"""What learned prompts have become: words by construction, moves of known length, likeness of known tokens, and the tool's output."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from classify import PromptClassifier
from classify.interpretation import interpret, moves, nearest_words, text_vectors, vision_likeness, vocabulary
from classify.interpretation_report import draw, to_text
from clip import tokenize
from clip.tokenizer import default_tokenizer
from tests.classify.tiny_prompts import NAMES, SETTINGS, circle, classifier_of, prompt_file, tiny_clip
from tools.interpret_prompts import main


@pytest.mark.parametrize(
    ("method", "layers"),
    [("MPL", range(6)), ("MaPLe", range(4)), ("IVLP", range(3)), ("VPT", []), ("CoOp", [0]), ("CoCoOp", [0]), ("PromptSRC", range(3))],
)
def test_text_vectors_are_found_layer_by_layer(method: str, layers: range) -> None:
    vectors = text_vectors(classifier_of(method).model.prompt_learner)
    assert list(vectors) == list(layers)
    assert all(v.ndim == 2 and v.shape[1] == 64 for v in vectors.values())


def test_a_vector_that_is_a_word_finds_it_at_distance_zero() -> None:
    """CoCoOp starts from the words of CTX_INIT, so each vector's nearest word is its own."""
    words = nearest_words(text_vectors(classifier_of("CoCoOp").model.prompt_learner), tiny_clip(), top=3)
    assert [w.word for w in words if w.rank == 1] == ["a", "photo", "of", "a"]
    assert all(w.euclidean == pytest.approx(0, abs=1e-3) and w.cosine == pytest.approx(1) for w in words if w.rank == 1)
    distances = [w.euclidean for w in words if w.prompt == 1]
    assert distances == sorted(distances) and distances[1] > 0.1


def test_pieces_and_words_are_told_apart() -> None:
    words, tokenizer = vocabulary(), default_tokenizer()
    assert len(words) == tokenizer.vocab_size == 49408
    (cat,) = tokenizer.encode("cat")
    assert words[cat] == "cat" and words[tokenizer.end_of_text].startswith("<end")
    assert words[tokenizer.encode("unphotographable")[0]].endswith("-")


@torch.no_grad()
def test_words_within_a_layer_are_the_states_of_real_texts() -> None:
    """A vector that is the state of a text's first word before layer 1 finds that word, whatever follows in the text."""
    clip = tiny_clip()
    tokens = tokenize(["heart of a red lion"], clip.config.context_length)
    x = clip.embed_tokens(tokens) + clip.positional_embedding
    x = clip.transformer.resblocks[0](x)
    first, second = nearest_words({1: x[0, 1:2]}, clip, top=2, in_layer=True)
    assert first.word == "heart" and first.euclidean == pytest.approx(0, abs=0.01) and second.euclidean > 0.1


def test_moves_are_measured_from_the_start_that_is_known() -> None:
    drawn = {"words": torch.ones(16), "random": torch.randn(400, generator=torch.Generator().manual_seed(1))}
    otherwise = {"words": torch.ones(16), "random": torch.randn(400, generator=torch.Generator().manual_seed(2))}
    learned = {"words": torch.ones(16) * 3, "random": drawn["random"] + 0.5}
    words, random = moves(learned, drawn, otherwise)
    assert (words.start, words.moved, words.cosine) == ("words", pytest.approx(8), pytest.approx(1))
    assert (random.start, random.moved) == ("seed", pytest.approx(10))
    words, random = moves({**learned, "random": torch.randn(400, generator=torch.Generator().manual_seed(3))}, drawn, otherwise)
    assert (words.start, random.start, random.moved, random.cosine) == ("words", "unknown", None, None)
    assert random.start_norm == pytest.approx(20, rel=0.2)


@pytest.mark.parametrize("method", SETTINGS)
def test_the_start_is_found_from_the_runs_seed(method: str) -> None:
    found = interpret(classifier_of(method), top=1)
    assert {m.start for m in found.moves} <= {"words", "seed"}
    assert all(m.moved == pytest.approx(0, abs=1e-5) for m in found.moves)
    if any(m.start == "seed" for m in found.moves):
        other = PromptClassifier(replace(prompt_file(method), seed=77), tiny_clip())
        assert "unknown" in {m.start for m in interpret(other, top=1).moves}


def test_a_real_run_starts_from_the_draw_of_its_seed(tmp_path: Path) -> None:
    """The engine's own way to a trainer, data and all, draws what is drawn here from the seed alone."""
    from dassl.engine import build_trainer
    from dassl.utils import set_random_seed
    from tests.trainers.small_runs import SIZES, config, write_eurosat, write_weights

    weights = write_weights(tmp_path / "narrow.pt", SIZES["narrow"])
    cfg = config("MPL", write_eurosat(tmp_path / "data"), weights, tmp_path / "run")
    set_random_seed(cfg.SEED)
    trainer = build_trainer(cfg)
    learned = {name: p.detach().clone() for name, p in trainer.learned.named_parameters()}
    from classify.interpretation import _draws
    from trainers.prompt_file import of_trainer

    drawn, otherwise = _draws(of_trainer(trainer, type(trainer), learned), trainer.model.clip)
    assert all(torch.equal(learned[name], drawn[name]) for name in learned)
    assert not torch.equal(learned["prompt_learner.proj.weight"], otherwise["prompt_learner.proj.weight"])


def test_likeness_is_that_of_the_states_before_each_layer() -> None:
    file, generator = prompt_file("MPL"), torch.Generator().manual_seed(4)
    learned = {name: v + 0.1 * torch.randn(v.shape, generator=generator) for name, v in file.learned.items()}  # the maps start alike
    model = PromptClassifier(replace(file, learned=learned), tiny_clip()).model
    images = torch.randn(3, 3, 64, 64, generator=generator)
    found = vision_likeness(model, images)
    assert [(one.layer, one.carried, one.removed, one.added) for one in found] == [
        (1, 0, 1, 2),
        (2, 1, 1, 2),
        (3, 2, 1, 2),
        (4, 3, 1, 2),
        (5, 4, 1, 2),
    ]
    assert found[0].carried_added is None and found[0].removed_added is not None
    visual, states = model.clip.visual, []
    hook = visual.transformer.resblocks[2].register_forward_pre_hook(
        lambda _, args: states.append(args[0])
    )  # layer 2 sees 1 carried and 2 added
    with torch.no_grad():
        model.image_features(images)
    hook.remove()
    carried, added, patches = states[0][:, 65:66], states[0][:, 66:], states[0][:, 1:65]
    assert found[1].carried_added == pytest.approx(float(torch.cosine_similarity(carried, added, dim=-1).mean()), abs=1e-5)
    assert found[1].carried_patches == pytest.approx(float(torch.cosine_similarity(carried, patches, dim=-1).mean()), abs=1e-5)
    assert found[1].carried_norm == pytest.approx(float(carried.norm(dim=-1).mean()), rel=1e-5)
    assert found[1].added_norm == pytest.approx(float(added.norm(dim=-1).mean()), rel=1e-5)
    assert vision_likeness(classifier_of("CoOp").model, images) == []


@pytest.mark.parametrize("method", SETTINGS)
def test_every_method_has_tables_and_a_figure(method: str) -> None:
    found = interpret(classifier_of(method), top=2)
    text = to_text(found)
    assert "Nearest words" in text and "How far" in text and "Vision prompts" in text and "…" not in text and "\x1b" not in text
    for move in found.moves:
        assert move.name in text
    if method == "VPT":
        assert "VPT learns no text vectors" in text
    figure = draw(found, "title")
    assert len(figure.axes) == 3


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompt_file("MPL").write(tmp_path_factory.mktemp("prompts") / "prompts.safetensors")


def test_the_tool_prints_json_and_draws(prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for i in range(2):
        circle(i, 0).save(tmp_path / f"{i}.png")
    assert main([str(prompts), "--json", "--top", "3", "--pictures", str(tmp_path), "--out", str(tmp_path / "deep" / "figure.png")]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["method"] == "MPL" and told["pictures"] == "2 of 2 pictures"
    assert len(told["words"]) == 6 * 3 and len(told["likeness"]) == 5
    assert {row["name"] for row in told["moves"]} == set(prompt_file("MPL").learned)
    assert "figure.png" in err
    with Image.open(tmp_path / "deep" / "figure.png") as drawn:
        assert drawn.width >= 1500


def test_the_tool_prints_csv(prompts: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(prompts), "--csv", "--top", "1"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {line["table"] for line in lines} == {"words", "moves", "likeness"}
    word = next(line for line in lines if line["table"] == "words" and line["layer"] == "0")
    assert word["word"] == "x" and float(word["cosine"]) == pytest.approx(1)  # MPL's context starts as the word X


def test_the_tool_says_what_is_wrong(prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, message in (
        ([str(tmp_path / "none.safetensors")], "no prompt file at"),
        ([str(prompts), "--top", "0"], "--top is 0; it must be between 1 and 49408"),
        ([str(prompts), "--pictures", str(tmp_path / "nothing")], "no picture or folder at"),
        ([str(prompts), "--out", str(tmp_path / "figure.nonsense")], "nonsense"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    file = replace(prompt_file("MPL"), method="ZeroshotCLIP", learned={}, settings={}, templates=("a photo of a {}.",), classnames=NAMES)
    assert main([str(file.write(tmp_path / "zero.safetensors"))]) == 2
    assert "ZeroshotCLIP learns no prompts" in capsys.readouterr().err
