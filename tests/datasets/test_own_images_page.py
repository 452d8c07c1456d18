"""docs/OWN_IMAGES.md: every command is run in a copy of the project and gives its output.

Training takes one epoch here, so its numbers are not compared.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from yacs.config import CfgNode

from datasets.folder import extend_cfg
from datasets.folder_lists import COLUMNS, DELIMITERS
from datasets.images import SUFFIXES

REPO = Path(__file__).parents[2]
PAGE = (REPO / "docs/OWN_IMAGES.md").read_text(encoding="utf-8")
TOLERANCE = 1.0  # points of accuracy: another processor or PyTorch rounds otherwise
NUMBER = re.compile(r"\d+\.\d+")
END_OF_BLOCK = "-- end of block --"


def shows(line, out, tolerance):
    """Whether `out` has this line; "…" is anything, and numbers agree within `tolerance`."""
    pattern = NUMBER.sub(lambda _: r"(\d+\.\d+)", re.escape(line).replace(r"\.", ".").replace("…", ".*"))
    expected = [float(number) for number in NUMBER.findall(line)]
    for match in re.finditer(f"^{pattern}$", out, re.MULTILINE):
        found = [float(number) for number in match.groups()]
        if all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True)):
            return True
    return False


def test_every_command_of_the_page_gives_its_output(tmp_path):
    for path in REPO.iterdir():
        if path.suffix == ".py" or path.name == "requirements.txt":
            shutil.copy(path, tmp_path)
        elif path.name in ("configs", "scripts") or (path / "__init__.py").is_file():
            shutil.copytree(path, tmp_path / path.name)
    config = tmp_path / "configs/trainers/MPL/tiny_shapes.yaml"
    config.write_text(re.sub(r"MAX_EPOCH: \d+", "MAX_EPOCH: 1", config.read_text()))
    blocks = re.findall(r"```bash\n(.*?)```(?:\n\n```output\n(.*?)```)?", PAGE, re.DOTALL)
    assert len(blocks) == 6
    script = "".join(f"{text}\necho '{END_OF_BLOCK}'\n" for text, _ in blocks)
    script = script.replace("python -m", f"{sys.executable} -m")
    environment = {k: v for k, v in os.environ.items() if k not in ("DATA", "OUTPUT", "CFG", "SHOTS")}
    environment |= {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    script = "exec 2>&1\n" + script
    done = subprocess.run(
        ["bash", "-e"], input=script, cwd=tmp_path, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    for (text, shown), out in zip(blocks, done.stdout.split(END_OF_BLOCK)[:-1], strict=True):
        tolerance = 100 if "scripts/mpl" in text else TOLERANCE
        for line in shown.splitlines():
            assert shows(line, out, tolerance), f"{line!r} is not what this gave:\n{text}\n{out[-2000:]}"
    results = [json.loads(path.read_text()) for path in tmp_path.glob("output/**/result.json")]
    own = [result["data"] for result in results if result["dataset"] == "Folder forms"]
    splits = {data["split_sha256"]: Path(data["split"]).name for data in own}
    assert sorted(splits.values()) == ["split_own-colours.csv.json", "split_own.json"]
    other = "CFG=tiny_shapes bash scripts/zsclip/base2new.sh folder DATASET.FOLDER_PATH shapes/images"
    refused = subprocess.run(
        ["bash", "-c", other], cwd=tmp_path, env=environment, text=True, capture_output=True
    )
    assert refused.returncode == 2 and "FOLDER_PATH" in refused.stdout + refused.stderr


def test_the_page_names_what_the_code_takes():
    cfg = CfgNode({"DATASET": {}})
    extend_cfg(cfg)
    names = [*COLUMNS, *DELIMITERS, ".json", *SUFFIXES, *(f"DATASET.{key}" for key in cfg.DATASET)]
    assert [name for name in names if name not in PAGE] == []
