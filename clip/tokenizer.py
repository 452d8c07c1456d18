"""CLIP's byte-pair tokenizer: lower-cased text to the token ids that the text tower was trained on.

The vocabulary (Radford et al., 2021, section 2.4) is the file ``bpe_simple_vocab_16e6.txt.gz`` beside this module, as OpenAI published it:
256 bytes, the same 256 bytes as word ends, 48,894 merges in order of rank, and the two marks for the start and the end of a text.
"""

from __future__ import annotations

import gzip
import heapq
import html
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import regex
import torch
from torch import Tensor

VOCABULARY_PATH = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
N_MERGES = 48_894  # OpenAI's file holds more lines; CLIP was trained with the first 48,894
WORD_END = "</w>"
START_OF_TEXT, END_OF_TEXT = "<start_of_text>", "<end_of_text>"
DEFAULT_CONTEXT_LENGTH = 77

# Contractions, runs of letters, single digits, runs of anything else that is no space.
_WORDS = regex.compile(
    rf"{START_OF_TEXT}|{END_OF_TEXT}|'s|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+",
    regex.IGNORECASE,
)


def _byte_symbols() -> dict[int, str]:
    """One visible character for each of the 256 byte values, in the order in which the vocabulary numbers them.

    Printable Latin-1 characters stand for themselves; the 68 other bytes borrow the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(printable)]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def clean(text: str) -> str:
    """``text`` as CLIP reads it: broken encodings repaired, HTML entities resolved, runs of white space made one space, lower case."""
    if not (text.isascii() and text.isprintable() and "&" not in text):  # ordinary English needs no repair, nor the import
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


class Tokenizer:
    """Turns text into token ids and back; ``Tokenizer()(["a photo of a cat."])`` gives an int64 tensor ``[1, 77]``."""

    def __init__(self, vocabulary_path: str | Path = VOCABULARY_PATH) -> None:
        self._symbol_of_byte = _byte_symbols()
        with gzip.open(vocabulary_path, "rt", encoding="utf-8") as f:
            f.readline()  # the first line is a version mark
            merges = [tuple(line.split()) for line, _ in zip(f, range(N_MERGES), strict=False)]
        symbols = list(self._symbol_of_byte.values())
        vocabulary = symbols + [s + WORD_END for s in symbols] + ["".join(pair) for pair in merges] + [START_OF_TEXT, END_OF_TEXT]
        self._id_of = {token: i for i, token in enumerate(vocabulary)}
        self._token_of = vocabulary
        self._rank = {pair: i for i, pair in enumerate(merges)}
        self._byte_of_symbol = {s: b for b, s in self._symbol_of_byte.items()}
        self._ids_of_word: dict[str, list[int]] = {mark: [self._id_of[mark]] for mark in (START_OF_TEXT, END_OF_TEXT)}

    @property
    def vocab_size(self) -> int:
        """Number of token ids, the two marks included."""
        return len(self._token_of)

    @property
    def start_of_text(self) -> int:
        """Id that opens every text."""
        return self._id_of[START_OF_TEXT]

    @property
    def end_of_text(self) -> int:
        """Id that closes every text; the largest id, so that ``tokens.argmax(-1)`` finds where the text ends."""
        return self._id_of[END_OF_TEXT]

    def _word_ids(self, word: str) -> list[int]:
        """Ids of one word, found by merging the adjacent pair of lowest rank until none is left."""
        known = self._ids_of_word.get(word)
        if known is not None:
            return known
        parts = [self._symbol_of_byte[b] for b in word.encode("utf-8")]
        parts[-1] += WORD_END
        parts = self._merge(parts)
        ids = [self._id_of[p] for p in parts]
        if len(self._ids_of_word) < 100_000 and len(word) < 100:  # words repeat; the bounds keep hostile text from filling the memory
            self._ids_of_word[word] = ids
        return ids

    def _merge(self, parts: list[str]) -> list[str]:
        """``parts`` with the pair of lowest rank merged wherever it stands, from left to right, and so on until no pair is left to merge.

        Only the places that a merge touches are looked at again, so that the time of a word of n bytes is of the order n log n.
        """
        following, preceding = list(range(1, len(parts) + 1)), list(range(-1, len(parts) - 1))
        waiting: list[tuple[int, int]] = []  # rank of the pair that begins at a place, and the place

        def look_at(place: int) -> None:
            if place >= 0 and following[place] < len(parts):
                rank = self._rank.get((parts[place], parts[following[place]]))
                if rank is not None:
                    heapq.heappush(waiting, (rank, place))

        for place in range(len(parts)):
            look_at(place)
        while waiting:
            rank, touched = waiting[0][0], []
            while waiting and waiting[0][0] == rank:  # all places of this pair, before pairs that merging makes
                place = heapq.heappop(waiting)[1]
                after = following[place]
                if not parts[place] or after >= len(parts) or self._rank.get((parts[place], parts[after])) != rank:
                    continue  # another merge took a part of it
                parts[place], parts[after] = parts[place] + parts[after], ""
                following[place] = following[after]
                if following[after] < len(parts):
                    preceding[following[after]] = place
                touched += [preceding[place], place]
            for place in touched:
                if place >= 0 and parts[place]:
                    look_at(place)
        return [part for part in parts if part]

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, without the start and end marks."""
        return [i for word in _WORDS.findall(clean(text)) for i in self._word_ids(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ``ids`` stand for, a space after each word end; bytes that form no character become U+FFFD.

        Raises:
            IndexError: an id is not in the vocabulary.
        """
        text = "".join(self._token_of[i] for i in ids).replace(WORD_END, " ")
        data = bytearray()
        for character in text:
            byte = self._byte_of_symbol.get(character)
            data += character.encode("utf-8") if byte is None else bytes([byte])
        return data.decode("utf-8", errors="replace")

    def __call__(self, texts: str | Sequence[str], context_length: int = DEFAULT_CONTEXT_LENGTH, truncate: bool = False) -> Tensor:
        """Token ids of each text between the start and end marks, padded with zeros.

        Args:
            texts: one text or a sequence of C texts.
            context_length: L, the number of positions of the text tower.
            truncate: cut a text that is too long before its end mark instead of raising.

        Returns:
            int64 tensor ``[C, L]``.

        Raises:
            ValueError: a text needs more than ``context_length`` positions and ``truncate`` is False.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        tokens = torch.zeros(len(texts), context_length, dtype=torch.long)
        for row, text in zip(tokens, texts, strict=True):
            ids = [self.start_of_text, *self.encode(text), self.end_of_text]
            if len(ids) > context_length:
                if not truncate:
                    shown = text if len(text) <= 120 else text[:117] + "..."
                    raise ValueError(
                        f"the text {shown!r} needs {len(ids)} tokens, start and end included, but the text tower has {context_length} positions. "
                        "Shorten the class name, or use fewer or shorter prompt words (N_CTX, CTX_INIT)."
                    )
                ids = [*ids[: context_length - 1], self.end_of_text]
            row[: len(ids)] = torch.tensor(ids)
        return tokens


@lru_cache(maxsize=1)
def default_tokenizer() -> Tokenizer:
    """The one tokenizer of this process, read from disk at first use."""
    return Tokenizer()


def tokenize(texts: str | Sequence[str], context_length: int = DEFAULT_CONTEXT_LENGTH, truncate: bool = False) -> Tensor:
    """Token ids ``[C, context_length]`` of ``texts``; see :meth:`Tokenizer.__call__`."""
    return default_tokenizer()(texts, context_length, truncate)
