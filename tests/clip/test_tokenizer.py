"""The tokenizer gives what open_clip's gives, for class names, templates and any Unicode."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from clip.tokenizer import Tokenizer, tokenize
from trainers.templates import DEFAULT_TEMPLATE, TEMPLATES, fill

OURS, THEIRS = Tokenizer(), SimpleTokenizer()

CLASS_NAMES = [
    "annual_crop_land", "Herbaceous Vegetation Land", "Boeing 737-200", "2012 BMW M3 coupe", "jack-o'-lantern", "Cairo d'Éthiopie",
    "bird of paradise", "colt's foot", "yin yang", "Spyker C8 Coupe 2009", "MD-80", "crème brûlée", "Apply_Eye_Makeup", "can't", "X", "naïve café",
    "St. Bernard", "T-shirt (jersey)", "CD player", "iPod", "3D glasses", "ß", "İstanbul", "東京", "🦜 parrot", "&lt;b&gt;bold&amp;lt;", "â€œquotedâ€",
]  # fmt: skip


@pytest.mark.parametrize("name", CLASS_NAMES)
@pytest.mark.parametrize("template", ["{}", "X X a photo of a {}.", DEFAULT_TEMPLATE, *TEMPLATES.values()])
def test_class_names_in_templates(name: str, template: str) -> None:
    text = fill(template, name)
    assert torch.equal(OURS(text), THEIRS(text))


def test_every_imagenet_class_name_in_every_published_template() -> None:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    assert (len(IMAGENET_CLASSNAMES), len(OPENAI_IMAGENET_TEMPLATES)) == (1000, 80)
    texts = [f"a photo of a {name}." for name in IMAGENET_CLASSNAMES] + [
        template("jack-o'-lantern") for template in OPENAI_IMAGENET_TEMPLATES
    ]
    assert torch.equal(OURS(texts), THEIRS(texts))


def test_templates_are_those_of_the_facts() -> None:
    assert len(TEMPLATES) == 7
    assert all(template.count("{}") == 1 for template in TEMPLATES.values())


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=40))
def test_any_unicode(text: str) -> None:
    assert OURS.encode(text) == THEIRS.encode(text)


PIECES = [*"aZ'’&;<>_|/ \t\n09é\u00a0\u3000\x1b[", "<start_of_text>", "&amp;", "&lt;"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_text_that_needs_cleaning(text: str) -> None:
    assert OURS.encode(text) == THEIRS.encode(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, OURS.vocab_size - 1), max_size=20))
def test_decode(ids: list[int]) -> None:
    assert OURS.decode(ids) == THEIRS.decode(ids)


def test_ends_are_marked_and_the_rest_is_zero() -> None:
    tokens = tokenize(["a cat", ""], context_length=8)
    assert tokens.dtype == torch.long
    assert tokens.tolist() == [[49406, 320, 2368, 49407, 0, 0, 0, 0], [49406, 49407, 0, 0, 0, 0, 0, 0]]


def test_text_that_is_too_long_is_refused_or_cut() -> None:
    with pytest.raises(ValueError, match=r"'cat cat cat .* needs 92 tokens.* has 77 positions"):
        tokenize("cat " * 90)
    assert torch.equal(tokenize("cat " * 90, truncate=True), THEIRS("cat " * 90))


def test_decode_refuses_an_unknown_id() -> None:
    with pytest.raises(IndexError):
        OURS.decode([OURS.vocab_size])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "ab", "th", "the", "in", "ing", "er", "é", "!", "!?"]), max_size=40).map("".join))
def test_words_in_which_pairs_overlap(word: str) -> None:
    assert OURS.encode(word) == THEIRS.encode(word)


def test_a_word_without_end_takes_seconds_at_most() -> None:
    """Merging pair by pair over the whole word, as is usual, would take hours."""
    word = "".join(chr(ord("a") + i * i % 23) for i in range(50_000))
    ids = OURS.encode(word)
    assert OURS.decode(ids).strip() == word
