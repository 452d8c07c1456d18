"""docs/DATASETS.md against the readers, the published counts, the table of sources and the doctor; and these against each other."""

import re
from pathlib import Path

import pytest

from diagnosis.layouts import read_marks
from diagnosis.published import CONFIG_DIR, read_published, readers
from preparation.sources import load_table
from tools import doctor, prepare

REPO = Path(__file__).parents[2]
PAGE = (REPO / "docs/DATASETS.md").read_text(encoding="utf-8")
SOURCES = load_table()


def sections():
    """Dataset -> its section of the page, found by the config that it names."""
    found = {}
    for text in PAGE.split("\n## ")[1:]:
        named = re.search(r"\| config \| `configs/datasets/(\w+)\.yaml` \|", text)
        if named:
            assert named[1] not in found
            found[named[1]] = text
    return found


def rows(section):
    """First cell -> second cell of the section's table."""
    return dict(re.findall(r"^\| ([^|]+?) \| (.+?) \|$", section, re.MULTILINE))


def tree(section):
    """Every path that the section's tree draws, from the data folder on, with a slash at the end of folders."""
    paths, above = [], []
    for line in re.search(r"```text\n(.*?)```", section, re.DOTALL)[1].splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.strip().removesuffix(" …")
        above = [*above[:depth], name]
        paths.append("".join(above))
    return paths


def test_the_page_has_every_dataset_in_the_order_of_the_doctor():
    assert list(sections()) == list(readers()) == list(read_published())
    assert len(sections()) == 16 and set(SOURCES) == set(readers()) - {"shapes"}
    assert "OWN_PICTURES.md" in PAGE


@pytest.mark.parametrize("name", readers())
def test_a_section_states_the_facts_of_the_reader_and_of_the_sources(name):
    section, reader, counts = sections()[name], readers()[name].at("/data"), read_published()[name]
    cells = rows(section)
    parts = [f"{part} {counts[part]:,}" for part in ("train", "val", "test") if part in counts]
    assert (cells["classes"], cells["pictures"]) == (f"{counts['classes']:,}", ", ".join(parts))
    n_new = counts["classes"] // 2
    halves = "not halved: for testing alone" if reader.test_only else f"{counts['classes'] - n_new:,}, {n_new:,}"
    assert (cells["base, new classes"], cells["source"]) == (halves, reader.source)
    drawn = tree(section)
    image_dir = str(reader.image_folder.relative_to("/data")) + "/"
    assert drawn[0] == f"{reader.dataset_dir}/" and any(path.startswith(image_dir) and path != image_dir for path in drawn)
    assert {str(path.relative_to("/data")) for path in reader.list_paths()} <= set(drawn)
    if name == "shapes":
        assert "bash scripts/zsclip/base2new.sh shapes" in section
        return
    source = SOURCES[name]
    assert cells["class names" if reader.is_listed else "split file"] == reader.split_source if reader.split_source else True
    assert (cells["licence"], source.folder) == (source.licence, reader.dataset_dir)
    for file in source.files:
        if not file.is_optional and file.kind != "split" and file.name != "classnames.txt":
            assert f"`{file.name}`" in cells["archives"]
            size = file.sources[0].size
            assert size is None or f"{size / 1e6:.0f} MB" in cells["archives"] or f"{size / 1e9:.1f} GB" in cells["archives"]
    assert f"```bash\npython tools/prepare.py {name} --root $DATA" in section


@pytest.mark.parametrize("name", readers())
def test_configs_state_the_published_counts(name):
    """The first lines of configs/datasets/*.yaml are for people; they must not say other numbers."""
    head = "".join((CONFIG_DIR / f"{name}.yaml").read_text(encoding="utf-8").splitlines(keepends=True)[:3])
    counts = read_published()[name]
    for key, n in counts.items():
        if key in ("classes", "train", "test") and not (name == "imagenet" and key == "test"):
            assert f"{n:,}" in head, key
    assert f"$DATA/{readers()[name].dataset_dir}" in head


@pytest.mark.parametrize("name", readers())
def test_a_tree_as_drawn_is_found_by_the_doctor(name, root, inspect, write):
    """Folders and lists of the page's tree are where the reader looks: the doctor misses none of them."""
    for path in tree(sections()[name]):
        (root / path).mkdir(parents=True, exist_ok=True) if path.endswith("/") else write(root / path, b"x")
    report = inspect(name)
    assert report.is_found and not {"absent", "layout", "list missing", "root"} & {finding.kind for finding in report.findings}


def test_layouts_are_known_of_every_dataset():
    marks = read_marks()
    assert list(marks) == list(readers())
    for name, reader in readers().items():
        plain = re.sub("[^a-z0-9]", "", reader.dataset_dir.lower())
        assert re.fullmatch(marks[name].aliases, plain), name


def test_the_example_of_the_page_is_what_the_doctor_prints(root, lay_out, run_doctor, bash):
    lay_out("eurosat")
    bash("mv eurosat/2750 eurosat/EuroSAT_RGB")
    plain = root.parent / "data"
    root.rename(plain)
    out = run_doctor("eurosat", root=plain)[1].replace(str(plain), "data")
    assert re.search(r"```text\n(FAULT .*?)```", PAGE, re.DOTALL)[1] in out


def test_every_option_of_the_doctor_is_on_the_page(capsys):
    assert doctor.main(["--help"]) == 0
    options = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help"}
    assert options == {"--root", "--decode", "--weights", "--json", "--counts"}
    assert all(option in PAGE for option in options)


def test_every_command_of_the_page_is_one_that_prepare_or_the_doctor_takes(tmp_path, monkeypatch, capsys):
    """Options and names are parsed by the programs themselves; nothing is fetched."""
    monkeypatch.setattr(prepare, "prepare_all", lambda *_: [])
    monkeypatch.setattr(prepare, "examine", lambda *_: True)
    commands = re.findall(r"^python tools/(prepare|doctor)\.py ([^#\n]*)", PAGE, re.MULTILINE)
    assert len(commands) == 15 + 3
    for program, arguments in commands:
        words = arguments.replace("$DATA", str(tmp_path)).replace("FOLDER", str(tmp_path)).split()
        assert (prepare if program == "prepare" else doctor).main(words) in ((0, 1) if program == "doctor" else (0,)), arguments
    capsys.readouterr()


def test_cures_are_commands_that_prepare_takes(root, lay_out, inspect, monkeypatch):
    """A cure's options are the true ones: parsed by tools/prepare.py itself."""
    import shlex

    monkeypatch.setattr(prepare, "prepare_all", lambda *_: [])
    monkeypatch.setattr(prepare, "examine", lambda *_: True)
    split = lay_out("eurosat")
    (root / "eurosat/2750" / split["train"][0][0]).unlink()
    (root / "eurosat/EuroSAT.zip").write_bytes(b"...")
    cures = [finding.cure for finding in [*inspect("eurosat").findings, *inspect("dtd").findings]]
    assert [cure.count("--force") for cure in cures] == [1, 1, 0] and "--from" in cures[1]
    for cure in cures:
        python, program, *words = shlex.split(cure)
        assert (python, program) == ("python", "tools/prepare.py") and prepare.main(words) == 0
