"""What learned prompts have become: the words nearest to their text vectors, and how far each array moved.

Letters of shapes: P prompts, D width, V words of the vocabulary.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from clip import CLIP
from clip.tokenizer import default_tokenizer
from dassl.engine import TRAINER_REGISTRY
from trainers.prompt_file import PromptFile
from trainers.prompts import PromptLearner

from .building import cfg_of

SAME_DRAW = 5.0
"""Standard deviations of the cosine of two unrelated random vectors, above which the learned values count as
started from a draw (our choice: by chance one in three million)."""


def text_vectors(learner: PromptLearner) -> dict[int, Tensor]:
    """The learned text vectors: layer -> `[P, D]`; layer 0 has the words of the class prompt.

    Words of each class (CoOp's CSC) follow one another, class by class.
    """
    deep, context = learner.text().deep, getattr(learner, "ctx", None)
    if deep is not None:
        layers = [plan.layer_index for plan in deep.schedule.plans if plan.added]
        tokens = {layer: deep.tokens[layer] for layer in layers}
    else:
        tokens = {} if context is None else {0: context}
    return {layer: t.detach().float().flatten(0, -2) for layer, t in tokens.items() if t is not None}


@torch.no_grad()
def nearest_words(learner: PromptLearner, clip: CLIP, top: int) -> list[dict]:
    """The `top` words nearest to each text vector by Euclidean distance, as CoOp's paper lists them.

    A deeper layer's vectors never pass through the space of the words: their words say where they lie, not
    what the layer makes of them.

    Returns:
        A row a word: layer, prompt, rank, word (`pho-` for a piece that another follows), euclidean, cosine.
    """
    tokenizer, rows = default_tokenizer(), []
    words = clip.token_embedding.weight.float()  # [V, D]
    for layer, vectors in text_vectors(learner).items():
        distances, ids = torch.cdist(vectors, words).topk(top, largest=False)  # each [P, top]
        cosines = F.cosine_similarity(vectors.unsqueeze(1), words[ids], dim=-1)  # [P, top]
        for prompt in range(len(vectors)):
            for rank in range(top):
                piece = tokenizer.decode([int(ids[prompt, rank])])
                rows.append(
                    {
                        "layer": layer,
                        "prompt": prompt,
                        "rank": rank + 1,
                        "word": piece[:-1] if piece.endswith(" ") else f"{piece}-",
                        "euclidean": float(distances[prompt, rank]),
                        "cosine": float(cosines[prompt, rank]),
                    }
                )
    return rows


def moves(file: PromptFile, clip: CLIP) -> list[dict]:
    """How far each learned array moved from its start, by Euclidean norms.

    An array that two seeds draw alike has a fixed start, such as words or zeros. The others count as started
    from the draw of the run's seed if, all together, they still resemble it more than chance allows. Else
    their start is unknown, and `start_norm` is that of a draw like it.

    Returns:
        A row an array: name, n_values, start (fixed, seed or unknown), norm, start_norm, moved, cosine; the
        last two are None where the start is unknown.
    """
    drawn, drawn_otherwise = (_drawn(file, clip, (file.seed or 0) + i) for i in (0, 1))
    random = [name for name in file.learned if not torch.equal(drawn[name], drawn_otherwise[name])]
    is_known = False
    if random:
        ours = torch.cat([file.learned[name].flatten() for name in random])
        theirs = torch.cat([drawn[name].flatten() for name in random])
        # the cosine of unrelated draws has the standard deviation 1 / sqrt(number of values)
        is_known = float(F.cosine_similarity(ours, theirs, dim=0)) * len(ours) ** 0.5 > SAME_DRAW
    rows = []
    for name, values in file.learned.items():
        start = "fixed" if name not in random else "seed" if is_known else "unknown"
        own, initial = values.flatten(), drawn[name].flatten()
        moved = float((own - initial).norm()), float(F.cosine_similarity(own, initial, dim=0))
        row = {"name": name, "n_values": len(own), "start": start}
        row |= {"norm": float(own.norm()), "start_norm": float(initial.norm())}
        rows.append(
            row | dict(zip(("moved", "cosine"), moved if start != "unknown" else (None, None), strict=True))
        )
    return rows


def _drawn(file: PromptFile, clip: CLIP, seed: int) -> Mapping[str, Tensor]:
    """The method's arrays before training, as `seed` draws them."""
    cfg = cfg_of(file)
    trainer = TRAINER_REGISTRY.get(file.method).chosen(cfg)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(max(seed, 0))
        learner = trainer.build_prompt_learner(cfg, clip, list(file.classnames))
        model = trainer.model_class(clip, learner)
    return {name: parameter.detach().float().cpu() for name, parameter in model.published_names().items()}
