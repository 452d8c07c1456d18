"""Mutations of real files: of their bytes, and of what their formats are made of, so that a mutated file gets past the first check of a reader.

Every function takes a file's bytes and a generator, and gives other bytes; a file that is not of the format comes back with its bytes mutated.
"""

from __future__ import annotations

import io
import json
import pickletools
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

MAX_BYTES = 1 << 20
"""Largest mutated file; our choice: the seeds have some 100 KB, and larger files would cost executions."""

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
"""Integers at which sizes, offsets and counts tend to break."""

WORDS = (
    b"..", b"/", b"../../etc/passwd", b"/etc/passwd", b"C:\\", b"\\", b"\0", b"\r", b"\n", b"\r\n", b'"', b"'", b",", b";", b"\t", b"[", b"]",
    b"{", b"}", b"[" * 2000, b'{"a":' * 2000, b"null", b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 5000, b"\xef\xbb\xbf", b"\xff\xfe",
    b"\xfe\xff", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\x1b[2J", b"\xe2\x80\xae", b"\x85", b"\xe2\x80\xa8", b"train",
    b"val", b"test", b"path", b"class", b"split", b"a" * 200_000, b"cos\nsystem\n", b"cbuiltins\neval\n", b"c__torch__\nX\n", b"(", b"t", b"R",
)  # fmt: skip
"""Pieces of text and of pickles that readers have to be careful with."""

ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**12, 10**400, 1.5, float("nan"), float("inf"), "", " ", "..", "../x", "/x", "\0", "\ud800", "\x1b[2J", "x" * 70_000,
    [], {}, [[]], [1, 2, 3], ["a.jpg", 0], ["a.jpg", 10**12, "a"], {"train": []}, ["a.jpg", 0, "a", 1],
)  # fmt: skip
"""JSON values to put in the place of others."""


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to eight changes of single bytes, ranges, integers or words."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(out) + 1)
        span = min(len(out) - at, rng.choice((1, 1, 2, 4, 8, 64, 4096)))
        kind = rng.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + span] = rng.randbytes(span)
        elif kind == 2:
            del out[at : at + span]
        elif kind == 3:
            out[at:at] = out[at : at + span] * rng.choice((1, 2, 50))
        elif kind == 4:
            packed = struct.pack(rng.choice("<>") + "Q", rng.choice(EDGES))[: rng.choice((1, 2, 4, 8))]
            out[at : at + len(packed)] = packed
        elif kind == 5:
            word = rng.choice(WORDS)
            out[at : at + rng.choice((0, len(word)))] = word
        else:
            del out[rng.choice((at, len(out) - min(len(out), rng.randrange(1, 40)))) :]
    return bytes(out[:MAX_BYTES])


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Put odd values, repeated keys and deep nesting into JSON."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2, 5))):
        tree = _mutate_tree(tree, rng)
    text = json.dumps(tree)
    if rng.random() < 0.1 and text.startswith("{") and len(text) > 2:
        text = "{" + text[1:-1] + "," + text[1:]  # every key twice
    return text.encode()[:MAX_BYTES]


def _mutate_tree(tree: Any, rng: random.Random) -> Any:
    """`tree` with one value somewhere in it changed."""
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.15:
        return rng.choice(ODD_VALUES)
    tree = tree.copy()
    key = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
    action = rng.random()
    if action < 0.1:
        del tree[key]
    elif action < 0.2 and isinstance(tree, list):
        tree.insert(key, tree[key])
    elif action < 0.2:
        tree[str(rng.choice(ODD_VALUES))[:50]] = tree[key]
    else:
        tree[key] = _mutate_tree(tree[key], rng)
    return tree


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change the JSON header and state its new length, now and then a false one."""
    if len(data) < 8:
        return mutate_bytes(data, rng)
    length = struct.unpack("<Q", data[:8])[0]
    header = mutate_json(data[8 : 8 + length], rng) if rng.random() < 0.7 else mutate_bytes(data[8 : 8 + length], rng)
    stated = len(header) if rng.random() < 0.9 else rng.choice(EDGES)
    return (struct.pack("<Q", stated % 2**64) + header + data[8 + length :])[:MAX_BYTES]


def mutate_pickle(data: bytes, rng: random.Random) -> bytes:
    """Change, drop, repeat or exchange whole operations of a pickle."""
    try:
        starts = [position for _, _, position in pickletools.genops(data)]
    except Exception:  # a pickle that is damaged already fails in many ways, and its bytes are changed instead
        return mutate_bytes(data, rng)
    operations = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(operations))
        kind = rng.randrange(6)
        if kind == 0:
            operations[at] = mutate_bytes(operations[at], rng)[:4096]
        elif kind == 1:
            operations[at] = b""
        elif kind == 2:
            operations.insert(at, operations[at] * rng.choice((1, 3, 500)))
        elif kind == 3:
            operations[at] = rng.choice(operations)
        elif kind == 4:
            operations[at] = b"\x8a\x08" + struct.pack("<q", rng.choice(EDGES[:-2]) * rng.choice((1, -1)))  # LONG1 of 8 bytes
        else:
            operations.insert(at, rng.choice(PICKLE_PIECES))
    return b"".join(operations)[:MAX_BYTES]


PICKLE_PIECES = (
    b"cos\nsystem\nX\x04\0\0\0true\x85R", b"cbuiltins\neval\nX\x03\0\0\0" + b"1+1\x85R", b"cbuiltins\ngetattr\n",
    b"cbuiltins\nbytearray\n\x8a\x06" + b"\xff" * 5 + b"\x7f\x85R", b"c__torch__\nX\n)\x81", b"}", b"]", b")", b"(", b"0", b"2", b"b", b"R",
    b"\x81", b"\x85", b"\x86", b"t", b"s", b"u", b"e", b"2\x86" * 30, b"\x85" * 20_000, b"2\x86" * 60 + b"N\x94", b"Q", b"ctorch\nfloat32\n",
    b"ccollections\nOrderedDict\n)R",
)  # fmt: skip
"""Operations that ask for code, for much memory, or for containers that hold themselves many times over."""


def mutate_zip(data: bytes, rng: random.Random) -> bytes:
    """Change one entry of an archive, its name or its compression, and write the archive again with sums that are right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # an archive that is damaged already fails in many ways, and its bytes are changed instead
        return mutate_bytes(data, rng)
    if not entries:
        return mutate_bytes(data, rng)
    pickles = [i for i, (name, _) in enumerate(entries) if name.endswith("data.pkl")]
    at = rng.choice(pickles) if pickles and rng.random() < 0.7 else rng.randrange(len(entries))
    name, content = entries[at]
    kind = rng.random()
    if kind < 0.8:
        content = (mutate_pickle if name.endswith(".pkl") and rng.random() < 0.8 else mutate_bytes)(content, rng)
    elif kind < 0.9:
        name = rng.choice((name.upper(), f"../{name}", f"/{name}", "archive/constants.pkl", f"x/{name}", name + "\0", entries[0][0]))
    else:
        content = content * rng.choice((0, 2)) + bytes(rng.choice((0, 0, 200_000)))
    entries[at] = (name, content)
    if rng.random() < 0.05:
        del entries[rng.randrange(len(entries))]
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", rng.choice((0, 0, zipfile.ZIP_DEFLATED))) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content)
    out = file.getvalue()
    return mutate_bytes(out, rng) if rng.random() < 0.1 else out[:MAX_BYTES]


def mutate_table(data: bytes, rng: random.Random) -> bytes:
    """Change, repeat, drop or exchange fields and lines of a text in lines."""
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(5)
        if kind == 0:
            fields = lines[at].split(b",")
            fields[rng.randrange(len(fields))] = rng.choice(WORDS)
            lines[at] = b",".join(fields)
        elif kind == 1:
            lines[at:at] = [lines[at]] * rng.choice((1, 2, 500))
        elif kind == 2:
            lines[at] = lines[at] + b"," * rng.choice((1, 3, 10_000))
        elif kind == 3:
            lines[at] = rng.choice(lines)
        else:
            lines[at] = mutate_bytes(lines[at], rng)
    out = b"\n".join(lines)
    if rng.random() < 0.05:
        out = out.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-16-be")), "replace")
    return out[:MAX_BYTES]
