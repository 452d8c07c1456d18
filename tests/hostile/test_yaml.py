"""Config files from anywhere: no code, no other file, no bomb, no silent second value; every refusal is short and names the file."""

import pytest

from dassl.config import CfgNode, ConfigError, check_ranges, get_cfg_default
from dassl.config.yaml_text import MAX_BYTES

TEN = ",".join(["x"] * 10)
ALIASES = f"a0: &a0 [{TEN}]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
MERGES = "a0: &a0 {a: 1, b: 2}\n" + "".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 12))

REFUSED = {
    "aliases that unfold": (ALIASES, "more than 20,000 entries, those that aliases repeat included (line 5)"),
    "merge keys that unfold": (MERGES, "more than 20,000 entries"),
    "an alias of itself": ("a: &a [*a]\n", "an alias holds itself"),
    "deep brackets": ("[" * 5000, "is not valid YAML"),
    "deep groups": ("\n".join(" " * i + "a:" for i in range(100)), "nested more than 20 levels deep"),
    "a call": ("SEED: !!python/object/apply:os.system ['touch ran']\n", "could not determine a constructor for the tag"),
    "a name": ("SEED: !!python/name:os.system\n", "could not determine a constructor for the tag"),
    "another file": ("_BASE_: ../../etc/passwd\n", "_BASE_ = '../../etc/passwd': no such setting"),
    "a key twice": ("SEED: 1\nSEED: 2\n", "the key 'SEED' is given twice in one group (line 2)"),
    "a group's key twice": ("OPTIM:\n  LR: 1\n  LR: 2\n", "the key 'LR' is given twice in one group (line 3)"),
    "no day": ("SEED: 2001-13-45\n", "month must be in 1..12"),
    "no number": ("SEED: !!int x\n", "is not valid YAML"),
    "no truth": ("SEED: !!bool x\n", "is not valid YAML"),
    "no time": ("SEED: !!timestamp x\n", "is not valid YAML"),
    "endless digits": (f"SEED: {'9' * 6000}\n", "is not valid YAML"),
    "NUL": ("SEED: 1\0\n", "special characters are not allowed"),
    "terminal codes": ('"\\e[2J": 1\n', "\\x1b[2J = 1: no such setting"),
    "a long value": (f"SEED: {'x' * 100_000}\n", "SEED = 'xxx"),
    "a huge list": (f"SEED: [{'1,' * 9000}]\n", "SEED = [1, 1, 1"),
    "two documents": ("SEED: 1\n---\nSEED: 2\n", "expected a single document"),
    "a key that is a list": ("? [1, 2]\n: 3\n", "unhashable key"),
    "latin-1": (b"SEED: \xe9\n", "can't decode byte 0xe9"),
    "too large": (b"#" * (MAX_BYTES + 1), "262,145 bytes, of at most 262,144"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_config_is_refused(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, said = REFUSED[what]
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    cfg = get_cfg_default()
    with pytest.raises(ConfigError) as raised:
        cfg.merge_from_file(str(path))
    message = str(raised.value)
    assert said in message and str(path) in message and len(message) < 1500 and "\x1b" not in message
    assert cfg == get_cfg_default() and [p.name for p in tmp_path.iterdir()] == ["a.yaml"]


def test_anchors_within_bounds_and_a_byte_order_mark_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("\ufeffOPTIM: &o {LR: 0.5}\nINPUT: {SIZE: [32, 32]}\n", encoding="utf-8")
    cfg = get_cfg_default()
    cfg.merge_from_file(str(tmp_path / "a.yaml"))
    assert (cfg.OPTIM.LR, cfg.INPUT.SIZE) == (0.5, (32, 32))
    assert CfgNode.load_cfg("a: &a {b: 1}\nc: {<<: *a, d: 2}\n") == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}
    for empty in ("", "# nothing\n", "~\n"):
        (tmp_path / "a.yaml").write_text(empty)
        cfg.merge_from_file(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    "value", ["(" * 100_000, "9" * 5000, "-" * 30_000 + "1", "__import__('os').system('touch ran')", "{[]: 1}", "1" + "+1" * 9000]
)
def test_a_value_of_the_command_line_is_refused(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"OPTIM.LR = ['\"]?.*expected float") as raised:
        get_cfg_default().merge_from_list(["OPTIM.LR", value])
    assert len(str(raised.value)) < 500 and not list(tmp_path.iterdir())


def test_a_key_of_any_length_is_refused_at_once():
    with pytest.raises(ConfigError) as raised:
        get_cfg_default().merge_from_list(["x" * 1_000_000, "1"])
    assert len(str(raised.value)) < 800


def test_infinite_numbers_and_odd_pixel_figures_are_out_of_range():
    cfg = get_cfg_default()
    cfg.merge_from_list(["OPTIM.LR", "1e999", "INPUT.PIXEL_MEAN", "[1, 2]", "INPUT.PIXEL_STD", "[1, 0, 'x']"])
    with pytest.raises(ConfigError) as raised:
        check_ranges(cfg)
    for said in ("OPTIM.LR = inf", "INPUT.PIXEL_MEAN = [1, 2]: accepted: three finite numbers", "INPUT.PIXEL_STD = [1, 0, 'x']"):
        assert said in str(raised.value)
