"""The tokenizer gives what open_clip's gives, for class names, templates and any Unicode."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

from clip.tokenizer import default_tokenizer, tokenize

OURS, THEIRS = default_tokenizer(), SimpleTokenizer()

CLASS_NAMES = [
    "annual_crop_land", "Boeing 737-200", "2012 BMW M3 coupe", "jack-o'-lantern", "Cairo d'Éthiopie",
    "colt's foot", "MD-80", "crème brûlée", "Apply_Eye_Makeup", "can't", "X", "naïve café", "St. Bernard",
    "T-shirt (jersey)", "iPod", "ß", "İstanbul", "東京", "🦜 parrot", "&lt;b&gt;bold&amp;lt;", "â€œquotedâ€",
]  # fmt: skip


def test_class_names_in_templates() -> None:
    texts = [f"a photo of a {name}." for name in IMAGENET_CLASSNAMES]
    texts += [template(name) for template in OPENAI_IMAGENET_TEMPLATES for name in CLASS_NAMES]
    assert torch.equal(tokenize(texts), THEIRS(texts))


PIECES = ["<start_of_text>", "&amp;", "&lt;", "the", "in", "ing", "!?"]
PIECES += "aZ'’&;<>_|/ \t\n09é\u00a0\u3000\x1b["


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_unicode(text: str) -> None:
    assert OURS.encode(text) == THEIRS.encode(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 49407), max_size=20))
def test_decode(ids: list[int]) -> None:
    assert OURS.decode(ids) == THEIRS.decode(ids)


def test_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'cat cat cat .* needs 92 tokens.* has 77 positions"):
        tokenize("cat " * 90)
