"""A server with a dataset's archives and a data folder to put it into: what the tests of tools/prepare.py begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

import datasets
from dassl.data.datasets import DATASET_REGISTRY
from tests.preparation.archives import READERS, counts, lay_out_archives, serve
from tests.preparation.server import Server
from tools import prepare


class World:
    """A server with the archives of one dataset, and the command that prepares it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder, self.root = server, folder, folder / "data"
        self.table: dict[str, Any] = {}
        self.counts: dict[str, Any] = {}
        self.archives: dict[str, bytes] = {}

    def lay_out(self, name: str) -> dict[str, list[Any]]:
        """Serve a miniature's archives; gives its rows."""
        split, self.archives = lay_out_archives(name, self.folder / "made")
        self.table[name] = serve(self.server, name, self.archives)
        self.counts[name] = counts(name, split)
        return split

    def run(self, *arguments: str) -> int:
        """``tools/prepare.py`` with the server's table."""
        files = {}
        for what in ("table", "counts"):
            files[what] = self.folder / f"{what}.yaml"
            files[what].write_text(yaml.safe_dump(getattr(self, what)), encoding="utf-8")
        return prepare.main([*arguments, "--root", str(self.root), "--sources", str(files["table"]), "--counts", str(files["counts"])])

    def rows(self, name: str) -> tuple[list[str], ...]:
        """What the project's reader finds: of train, val and test, the pictures' paths below the data folder."""
        cfg = CfgNode({"SEED": 1, "DATASET": {"ROOT": str(self.root), "NUM_SHOTS": -1}})
        datasets.extend_cfg(cfg)
        dataset = DATASET_REGISTRY.get(READERS[name])(cfg)
        return tuple([str(Path(d.impath).relative_to(self.root)) for d in part] for part in (dataset.train_x, dataset.val, dataset.test))

    def contents(self) -> list[str]:
        """The files of the data folder, without those that are hidden."""
        paths = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(str(path) for path in paths if not any(part.startswith(".") for part in path.parts))


def leftovers(root: Path) -> list[Path]:
    """Hidden files that are not the readers' memory: halves of downloads and of unpackings."""
    return [p for p in root.rglob(".*") if p.is_file() and p.name != ".decoded_pictures.json"]
