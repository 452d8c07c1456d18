"""What learned prompts have become: the words nearest to them, how far they moved, and how alike carried and added prompts are.

Letters of shapes: P prompts, D width, V words of the vocabulary, B pictures, L tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from clip import CLIP
from clip.model import VisionTransformer
from clip.prompt_ops import LayerPlan
from clip.tokenizer import default_tokenizer
from dassl.utils import read_image
from dassl.utils.seeding import isolated_random_state
from trainers.prompt_file import PromptFile
from trainers.prompted_clip import PromptedCLIP
from trainers.prompts import PromptLearner

from .building import cfg_of, trainer_class

if TYPE_CHECKING:
    from .classifier import PromptClassifier

SAME_DRAW = 5.0
"""Standard deviations of the cosine of two unrelated random vectors above which a draw counts as the one that training started from (our choice: by
chance one in three million)."""
MAX_PICTURES = 32  # shown to the image tower at once; our choice: under a GB at ViT-B/16
AT_A_TIME = 4096  # words whose states are computed at once: some hundred MB at ViT-B/16


@dataclass(frozen=True)
class NearWord:
    """A word of the vocabulary near a learned text vector.

    Attributes:
        layer: before which layer the vector joins; 0 for the words of the class prompt.
        prompt: its place among the vectors of that layer, from 0.
        rank: 1 for the nearest.
        word: as :func:`vocabulary` writes it.
        euclidean: distance of the two vectors.
        cosine: of the angle between them.
    """

    layer: int
    prompt: int
    rank: int
    word: str
    euclidean: float
    cosine: float


@dataclass(frozen=True)
class Move:
    """How far one learned array moved from its start.

    Attributes:
        name: published name of the array.
        n_values: number of its values.
        start: what its start is known from: ``words``, ``seed`` or ``unknown``.
        norm: of the learned array.
        start_norm: of its start, or of a draw like it where the start is unknown.
        moved: norm of the difference; None where the start is unknown.
        cosine: between start and learned array; None where the start is unknown.
    """

    name: str
    n_values: int
    start: str
    norm: float
    start_norm: float
    moved: float | None
    cosine: float | None


@dataclass(frozen=True)
class LayerLikeness:
    """How alike the vision prompts that join before a layer are to those that the layer before leaves.

    Cosines are means over pictures and pairs; None where a layer has no such prompts.

    Attributes:
        layer: 1 or more.
        carried, removed, added: numbers of prompts.
        carried_added: cosine of carried and added prompts.
        removed_added: cosine of removed and added prompts.
        carried_patches: cosine of carried prompts and patches, to compare with.
        carried_norm, added_norm: mean norms.
    """

    layer: int
    carried: int
    removed: int
    added: int
    carried_added: float | None
    removed_added: float | None
    carried_patches: float | None
    carried_norm: float | None
    added_norm: float | None


@lru_cache(maxsize=1)
def vocabulary() -> list[str]:
    """How each token id is written: ``photo`` for a whole word or the end of one, ``pho-`` for a piece that another follows."""
    tokenizer = default_tokenizer()
    pieces = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    return [piece[:-1] if piece.endswith(" ") else f"{piece}-" for piece in pieces[:-2]] + pieces[-2:]


def text_vectors(learner: PromptLearner) -> dict[int, Tensor]:
    """The learned text vectors: layer -> ``[P, D]``, layer 0 for the words of the class prompt; empty where none are learned.

    Words of each class (CoOp's CSC) follow one another, class by class.
    """
    deep = learner.text().deep
    if deep is not None:
        tokens = {plan.layer_index: deep.tokens[plan.layer_index] for plan in deep.schedule.plans if plan.added}
    else:
        context = getattr(learner, "ctx", None)
        tokens = {} if context is None else {0: context}
    return {layer: t.detach().float().flatten(0, -2) for layer, t in tokens.items() if t is not None}


@torch.no_grad()
def nearest_words(vectors: dict[int, Tensor], clip: CLIP, top: int, in_layer: bool = False) -> list[NearWord]:
    """The ``top`` words nearest to each vector by Euclidean distance (as CoOp's paper lists them), and their cosines.

    Args:
        vectors: as :func:`text_vectors` gives them.
        clip: its vocabulary.
        top: how many words a vector, 1 or more.
        in_layer: compare a deeper layer's vectors with the states in which the words themselves reach that layer, see :func:`word_states`. Otherwise
            every layer's are compared with the word vectors, which live in the space that layer 0 reads: for a deeper layer that says which words
            the vector would be, were it read there, and not what the layer makes of it.

    Raises:
        ValueError: ``top`` is below 1 or above the size of the vocabulary.
    """
    words = vocabulary()
    if not 1 <= top <= len(words):
        raise ValueError(f"--top is {top}; it must be between 1 and {len(words)}, the size of the vocabulary")
    states = word_states(clip, list(vectors)) if in_layer else {}
    found = []
    for layer, learned in vectors.items():
        space = states.get(layer, clip.token_embedding.weight).float()  # [V, D]
        distances = torch.cdist(learned, space)  # [P, V]
        nearest, ids = distances.topk(top, largest=False)
        cosines = F.cosine_similarity(learned.unsqueeze(1), space[ids], dim=-1)  # [P, top]
        for prompt, (row, near, cos) in enumerate(zip(ids.tolist(), nearest.tolist(), cosines.tolist(), strict=True)):
            for rank, (i, d, c) in enumerate(zip(row, near, cos, strict=True), start=1):
                found.append(NearWord(layer, prompt, rank, words[i], d, c))
    return found


@torch.no_grad()
def word_states(clip: CLIP, layers: Sequence[int]) -> dict[int, Tensor]:
    """Each word as the given deeper layers of the text tower find it at the first place of a text: layer -> ``[V, D]``.

    The text tower is causal: the state of the first word depends on the start mark and the word alone, so that it is the same in all texts.
    """
    wanted = sorted(layer for layer in layers if layer > 0)
    states: dict[int, list[Tensor]] = {layer: [] for layer in wanted}
    if not wanted:
        return {}
    start = default_tokenizer().start_of_text
    for ids in torch.arange(clip.config.vocab_size, device=clip.token_embedding.weight.device).split(AT_A_TIME):
        texts = torch.stack([torch.full_like(ids, start), ids], dim=1)  # [V', 2]
        x = (clip.embed_tokens(texts) + clip.positional_embedding[:2]).to(clip.dtype)
        for layer_index, block in enumerate(clip.transformer.resblocks[: wanted[-1]], start=1):
            x = block(x)
            if layer_index in states:
                states[layer_index].append(x[:, 1].float())
    return {layer: torch.cat(found) for layer, found in states.items()}


def moves(learned: Mapping[str, Tensor], drawn: Mapping[str, Tensor], drawn_otherwise: Mapping[str, Tensor]) -> list[Move]:
    """How far each learned array moved from its start.

    An array that two draws give alike starts from words and its start is known. The others start from random numbers. The draw of the run's seed is taken
    for their start if the learned values still resemble it more than chance allows (:data:`SAME_DRAW`, all arrays together); it does not where the run had no
    seed, drew other numbers before, or went on from another file. Then the start is unknown, and the norm can only be held against that of a draw.

    Args:
        learned: the learned arrays under their published names.
        drawn: the same arrays as the method draws them with the run's seed.
        drawn_otherwise: and with another seed.
    """
    random = [name for name in learned if not torch.equal(drawn[name], drawn_otherwise[name])]
    known = bool(random) and _resemble([learned[n] for n in random], [drawn[n] for n in random])
    found = []
    for name, array in learned.items():
        start = "words" if name not in random else "seed" if known else "unknown"
        found.append(_move(name, array.float().cpu(), drawn[name].float().cpu(), start))
    return found


def _resemble(learned: Sequence[Tensor], drawn: Sequence[Tensor]) -> bool:
    """Whether the cosine of all values is beyond what unrelated draws have, whose cosine has the standard deviation 1 / sqrt(number of values)."""
    a, b = (torch.cat([t.float().cpu().flatten() for t in arrays]) for arrays in (learned, drawn))
    return float(F.cosine_similarity(a, b, dim=0)) * len(a) ** 0.5 > SAME_DRAW


def _move(name: str, learned: Tensor, start: Tensor, known_from: str) -> Move:
    norm, start_norm = float(learned.norm()), float(start.norm())
    if known_from == "unknown":  # the norm of one draw is that of another, to within a few percent
        return Move(name, learned.numel(), known_from, norm, start_norm, None, None)
    cosine = float(F.cosine_similarity(learned.flatten(), start.flatten(), dim=0))
    return Move(name, learned.numel(), known_from, norm, start_norm, float((learned - start).norm()), cosine)


@torch.no_grad()
def vision_likeness(model: PromptedCLIP, images: Tensor) -> list[LayerLikeness]:
    """How alike carried and added vision prompts are before each layer whose prompts change, on ``images``.

    Carried prompts are not what was learned: blocks have moved them, each picture in its own way. So they are read from the image tower, as the block
    before leaves them, and cosines with the prompts that join are averaged over pictures and pairs.

    Args:
        model: a prompted CLIP.
        images: ``[B, 3, R, R]``, normalised as the model needs them.

    Returns:
        One entry for each of the layers that add or remove prompts; empty where the image tower has none, or none below the first layer.
    """
    prompts, visual = model.prompt_learner.vision(), model.clip.visual
    if prompts is None or not isinstance(visual, VisionTransformer):
        return []
    left: list[Tensor] = []  # [B, L, D] after each block
    with contextlib.ExitStack() as hooks:
        for block in visual.transformer.resblocks:
            hooks.callback(block.register_forward_hook(lambda _, args, output: left.append(output.float())).remove)
        model.image_features(images)
    found = []
    for plan, tokens in zip(prompts.schedule.plans[1:], left, strict=False):
        if plan.added or plan.removed:
            added = prompts.tokens[plan.layer_index] if plan.added else None
            found.append(_likeness(plan, tokens, None if added is None else added.float()))
    return found


def _likeness(plan: LayerPlan, tokens: Tensor, added: Tensor | None) -> LayerLikeness:
    """One layer's entry from the tokens ``[B, L, D]`` that the layer before leaves, prompts last, and those that join, ``[P, D]``."""
    before = tokens[:, tokens.shape[1] - plan.carried - plan.removed :]
    carried, removed = before[:, : plan.carried], before[:, plan.carried :]
    patches = tokens[:, 1 : tokens.shape[1] - before.shape[1]]
    return LayerLikeness(
        layer=plan.layer_index,
        carried=plan.carried,
        removed=plan.removed,
        added=plan.added,
        carried_added=_mean_cosine(carried, added),
        removed_added=_mean_cosine(removed, added),
        carried_patches=_mean_cosine(carried, patches),
        carried_norm=float(carried.norm(dim=-1).mean()) if plan.carried else None,
        added_norm=float(added.norm(dim=-1).mean()) if added is not None else None,
    )


def _mean_cosine(a: Tensor, b: Tensor | None) -> float | None:
    """Mean over all pairs of a token of ``a`` ``[B, P, D]`` and one of ``b`` (``[Q, D]`` or ``[B, Q, D]``); None where one has none."""
    if b is None or not a.numel() or not b.numel():
        return None
    return float((F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).transpose(-1, -2)).mean())


@dataclass(frozen=True)
class Interpretation:
    """All that is said of a prompt file.

    Attributes:
        method, backbone: whose prompts, in which CLIP.
        words: the nearest words of each learned text vector; empty where a method learns none.
        moves: one entry a learned array.
        likeness: one entry a layer whose vision prompts change.
        space: what the words were compared in: ``word vectors`` or ``each layer``.
        pictures: what the image tower was shown for :attr:`likeness`.
    """

    method: str
    backbone: str
    words: tuple[NearWord, ...]
    moves: tuple[Move, ...]
    likeness: tuple[LayerLikeness, ...]
    space: str
    pictures: str


def interpret(classifier: PromptClassifier, top: int = 5, in_layer: bool = False, pictures: Sequence[Path] = ()) -> Interpretation:
    """Compare learned prompts with words, with their start, and with one another.

    Args:
        classifier: a loaded prompt file.
        top: words a vector.
        in_layer: as for :func:`nearest_words`.
        pictures: paths to show the image tower, of which at most :data:`MAX_PICTURES`, evenly spaced, are taken; without any it is shown one plain
            picture of the mean colour.

    Raises:
        ValueError: the file holds nothing learned, or ``top`` is out of range.
        ImageError: a picture cannot be read.
    """
    file, model = classifier.file, classifier.model
    if not file.learned:
        raise ValueError(
            f"{file.method} learns no prompts, its file holds templates ({', '.join(file.templates)}): there is nothing to interpret"
        )
    images, shown = _images(classifier, pictures)
    return Interpretation(
        method=file.method,
        backbone=file.backbone.name,
        words=tuple(nearest_words(text_vectors(model.prompt_learner), model.clip, top, in_layer)),
        moves=tuple(moves(file.learned, *_draws(file, model.clip))),
        likeness=tuple(vision_likeness(model, images)),
        space="each layer" if in_layer else "word vectors",
        pictures=shown,
    )


def _images(classifier: PromptClassifier, pictures: Sequence[Path]) -> tuple[Tensor, str]:
    """What the image tower is shown, ``[B, 3, R, R]``, and how to call it."""
    if not pictures:
        size = classifier.model.clip.config.image_size
        return torch.zeros(1, 3, size, size, device=classifier.device), "one plain picture of the mean colour"
    step = max(1.0, len(pictures) / MAX_PICTURES)
    chosen = [pictures[int(i * step)] for i in range(min(len(pictures), MAX_PICTURES))]
    images = torch.stack([classifier.transform(read_image(str(path))) for path in chosen])
    return images.to(classifier.device), f"{len(chosen)} of {len(pictures)} pictures"


def _draws(file: PromptFile, clip: CLIP) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The method's arrays before training, as its run's seed draws them and as another does."""
    cfg, trainer = cfg_of(file), trainer_class(file.method)
    seed = file.seed if file.seed is not None and file.seed >= 0 else 0
    draws = []
    for number in (seed, seed + 1):
        with isolated_random_state(number):
            learner = trainer.build_prompt_learner(cfg, clip, list(file.classnames))
        draws.append({name: p.detach() for name, p in learner.published_names().items()})
    return draws[0], draws[1]
