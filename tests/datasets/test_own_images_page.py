"""docs/OWN_IMAGES.md: its commands give their output; of its trainings the configs are built."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.launchers import REPO, environment, succeeded
from tests.pages import blocks, check_output, copy_project
from tests.test_pages import give

PAGE = (REPO / "docs/OWN_IMAGES.md").read_text(encoding="utf-8")


def test_the_page_gives_its_output(tmp_path, drawn, monkeypatch):
    clone = copy_project(tmp_path / "clone")
    shutil.copytree(drawn, clone / "data")
    variables = environment(tmp_path, CFG="tiny_shapes")
    del variables["DATA"], variables["OUTPUT"]
    monkeypatch.setenv("CFG", "tiny_shapes")
    n_trainings = 0
    for _, text, shown in blocks(PAGE):
        if trainings := re.findall(r"^.*(?:scripts/mpl/|--method MPL,).*$", text, re.MULTILINE):
            n_trainings += len(trainings)
            for line in trainings:
                give(line, monkeypatch)
            continue
        script = "exec 2>&1\n" + text.replace("python -m", f"{sys.executable} -m")
        call = ["bash", "-ec", script]
        printed = succeeded(subprocess.run(call, cwd=clone, env=variables, text=True, capture_output=True))
        check_output(printed, shown, tolerance=1.0)
    assert n_trainings == 3
    results = [json.loads(path.read_text()) for path in clone.glob("output/**/result.json")]
    own = [result["data"] for result in results if result["dataset"] == "Folder forms"]
    splits = {data["split_sha256"]: Path(data["split"]).name for data in own}
    assert sorted(splits.values()) == ["split_own-colours.csv.json", "split_own.json"]
