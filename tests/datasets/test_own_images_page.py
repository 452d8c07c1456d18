"""docs/OWN_IMAGES.md: the commands without training give their output, and the others can be planned."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from experiments.__main__ import main
from tests.launchers import REPO, environment, shows

PAGE = (REPO / "docs/OWN_IMAGES.md").read_text(encoding="utf-8")
END_OF_BLOCK = "-- end of block --"


def test_the_page_gives_its_output(tmp_path, drawn):
    for path in REPO.iterdir():
        if path.suffix == ".py" or path.name == "requirements.txt":
            shutil.copy(path, tmp_path)
        elif path.name in ("configs", "scripts") or (path / "__init__.py").is_file():
            shutil.copytree(path, tmp_path / path.name)
    shutil.copytree(drawn, tmp_path / "data")
    blocks = re.findall(r"```bash\n(.*?)```(?:\n\n```output\n(.*?)```)?", PAGE, re.DOTALL)
    assert len(blocks) == 7
    blocks = [(text, shown) for text, shown in blocks if "LinearProbe" not in text]  # trainings, and theirs
    script = "exec 2>&1\n" + "".join(f"{text}\necho '{END_OF_BLOCK}'\n" for text, _ in blocks)
    script = re.sub("python -m prepare fetch shapes|bash scripts/mpl/.*", ":", script)
    variables = {key: value for key, value in environment(tmp_path).items() if key not in ("DATA", "OUTPUT")}
    command = ["bash", "-e", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=variables, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-3000:]
    for (text, shown), out in zip(blocks, done.stdout.split(END_OF_BLOCK)[:-1], strict=True):
        for line in shown.splitlines() if "scripts/mpl" not in text else ():
            assert shows(line, out, tolerance=1.0), f"{line!r} is not what this gave:\n{text}\n{out[-2000:]}"
    results = [json.loads(path.read_text()) for path in tmp_path.glob("output/**/result.json")]
    own = [result["data"] for result in results if result["dataset"] == "Folder forms"]
    splits = {data["split_sha256"]: Path(data["split"]).name for data in own}
    assert sorted(splits.values()) == ["split_own-colours.csv.json", "split_own.json"]


def test_the_trainings_of_the_page_can_be_planned(tmp_path, birds, monkeypatch, capsys):
    birds.rename(tmp_path / "forms")
    for name, value in (("CFG", "tiny_shapes"), ("DATA", tmp_path), ("OUTPUT", tmp_path / "output")):
        monkeypatch.setenv(name, str(value))
    runs = r"(?:bash scripts/mpl/|python -m experiments )(\w+)(?:\.sh| --method (\S+)) (folder .*)$"
    for verb, methods, words in re.findall(runs, PAGE, re.MULTILINE):
        assert main([verb, "--method", methods or "MPL", *words.split(), "--plan"]) == 0
    assert capsys.readouterr().out.count("runs: ") == 4
