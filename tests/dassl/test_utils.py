"""Registries, meters, the log, images, seeds, signals and the other small tools."""

import io
import os
import re
import signal
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dassl import utils
from dassl.command import run_command
from dassl.utils.logger import close_logger
from dassl.utils.seeding import get_random_state, set_random_state
from dassl.utils.signals import Stopped, raise_if_stopped, stop_signals

EARLIER_NAMES = {"python": "version words gauss_next", "numpy": "kind keys position has_gauss cached"}


def test_registry_names_the_known_and_the_nearest_and_refuses_doubles():
    registry = utils.Registry("TRAINER")

    @registry.register()
    class MaPLe:
        pass

    class CoOp:
        pass

    registry.register(CoOp)
    assert registry.get("MaPLe") is MaPLe
    assert registry.registered_names() == ["MaPLe", "CoOp"]
    with pytest.raises(KeyError) as caught:
        registry.get("Maple2")
    assert str(caught.value) == "unknown trainer 'Maple2'. Did you mean MaPLe? Known: CoOp, MaPLe"
    with pytest.raises(KeyError, match="CoOp already"):
        registry.register(CoOp)
    registry.register(CoOp, force=True)


def test_meters_average_numbers_and_tensors_alike():
    numbers, tensors = utils.MetricMeter(), utils.MetricMeter()
    for value in (1.0, 2.0, 6.0):
        tensor = torch.tensor(value, requires_grad=True)
        numbers.update({"loss": value})
        tensors.update({"loss": tensor})
        tensor.data.fill_(9.0)  # a meter keeps its value when the tensor changes later
    tensors.update(None)
    assert str(numbers) == str(tensors) == "loss 6.0000 (3.0000)"


def test_the_log_gets_what_is_printed_and_an_earlier_log_stays(tmp_path, monkeypatch):
    console = io.StringIO()
    monkeypatch.setattr(sys, "stdout", console)
    utils.setup_logger(str(tmp_path))
    print("hello")
    assert console.getvalue() == "hello\n" and (tmp_path / "log.txt").read_text() == "hello\n"
    assert sys.stdout.isatty() is False
    utils.setup_logger(str(tmp_path))
    print("again")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2 and re.fullmatch(r"log\.txt-\d{4}(-\d\d){5}", names[1])
    assert (tmp_path / "log.txt").read_text() == "hello\n" and (tmp_path / names[1]).read_text() == "again\n"
    close_logger()
    assert sys.stdout is console


@pytest.mark.parametrize("content", [b"", b"not an image", None, "cut", "16 bits", "signed", "floats"])
def test_an_image_that_cannot_be_used_is_named(tmp_path, root, content):
    path = tmp_path / "broken.png"
    if content == "cut":
        whole = (root / "colours" / "red_thing" / "0.png").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "16 bits":
        Image.fromarray(np.full((4, 4), 30_000, dtype=np.uint16)).save(path)
    elif content == "signed":
        path = tmp_path / "broken.tif"
        Image.fromarray(np.full((4, 4), -50, dtype=np.int32)).save(path)
    elif content == "floats":  # 0 to 1, as microscopes write them; black if they were taken for 0 to 255
        path = tmp_path / "broken.tif"
        Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(path)
    elif content is not None:
        path.write_bytes(content)
    for kind in (ValueError, OSError):
        with pytest.raises(kind, match=re.escape(str(path))):
            utils.read_image(str(path))


def test_images_become_what_pillow_makes_of_them(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    for name in ("a.png", "a.gif", "a.webp", "a.tif"):
        Image.fromarray(pixels).save(tmp_path / name)
        expected = np.array(Image.open(tmp_path / name).convert("RGB"))
        assert np.array_equal(np.array(utils.read_image(str(tmp_path / name))), expected)


def test_seeds_and_states_of_the_generators(tmp_path):
    def draws():
        return np.random.randn(3).tolist(), torch.rand(3).tolist(), __import__("random").random()

    utils.set_random_seed(0)
    first = draws()
    utils.set_random_seed(0)
    utils.set_random_seed(-1)  # seeds nothing
    assert draws() == first, "zero is a seed"
    np.random.randn()  # leaves half a pair in NumPy's generator
    torch.save(get_random_state(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    first = draws()
    set_random_state(state)
    assert draws() == first
    named = {key: dict(zip(keys.split(), state[key], strict=True)) for key, keys in EARLIER_NAMES.items()}
    set_random_state(state | named)
    assert draws() == first, "as the checkpoints of earlier versions have it"
    with utils.isolated_random_state(7):
        inside = draws()
    after = draws()
    set_random_state(state)
    draws()
    assert draws() == after != inside


def test_files(tmp_path):
    path = str(tmp_path / "a" / "b.json")
    utils.write_json({"x": [1, 2]}, path)
    assert utils.read_json(path) == {"x": [1, 2]}
    (tmp_path / "a" / ".hidden").write_text("{")
    assert utils.listdir_nohidden(str(tmp_path / "a"), sort=True) == ["b.json"]
    with pytest.raises(ValueError, match="hidden is not valid JSON"):
        utils.read_json(str(tmp_path / "a" / ".hidden"))
    assert utils.check_isfile(path)
    with pytest.warns(UserWarning, match="nothing"):
        assert not utils.check_isfile(str(tmp_path / "nothing"))

    def fail(file):
        file.write(b"new, but")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        utils.write_whole(path, fail)
    assert utils.read_json(path) == {"x": [1, 2]}
    assert sorted(os.listdir(tmp_path / "a")) == [".hidden", "b.json"]
    assert torch.__version__ in utils.collect_env_info()


def test_a_signal_is_looked_at_and_a_second_one_ends_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as caught, stop_signals():
        raise_if_stopped()
        signal.raise_signal(signal.SIGTERM)
        raise_if_stopped()
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(Stopped) as caught, stop_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert caught.value.code == 130
    with pytest.raises(Stopped), stop_signals():
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")
    with stop_signals():
        raise_if_stopped()  # the flag does not outlive its block


def test_a_mistake_is_a_sentence_and_a_defect_a_traceback(capsys):
    def fail(error):
        raise error

    assert run_command(lambda: None) == 0 and run_command(lambda: 3) == 3
    assert run_command(lambda: fail(KeyboardInterrupt())) == 130
    for error in (ValueError("wrong"), FileNotFoundError("wrong"), utils.UnknownNameError("wrong")):
        assert run_command(lambda error=error: fail(error)) == 2
        assert capsys.readouterr().err == "Error: wrong\n"
    for error in (RuntimeError("defect"), KeyError("defect")):
        with pytest.raises(type(error)):
            run_command(lambda error=error: fail(error))
    with pytest.raises(ValueError):
        run_command(lambda: fail(ValueError("wrong")), debug=True)
