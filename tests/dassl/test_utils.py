"""Registries, meters, the logger, pictures, seeds and the other small tools."""

import errno
import io
import os
import re
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from dassl import utils


def test_registry_names_the_known_and_the_nearest_and_refuses_doubles():
    registry = utils.Registry("TRAINER")

    @registry.register()
    class MaPLe:
        pass

    class CoOp:
        pass

    registry.register(CoOp)
    assert registry.get("MaPLe") is MaPLe and registry.registered_names() == ["MaPLe", "CoOp"] and "CoOp" in registry
    with pytest.raises(KeyError) as caught:
        registry.get("Maple2")
    assert str(caught.value) == "unknown trainer 'Maple2'. Did you mean MaPLe? Known: CoOp, MaPLe"
    with pytest.raises(KeyError, match="CoOp is taken"):
        registry.register(CoOp)
    registry.register(CoOp, force=True)
    with pytest.raises(KeyError, match="none is registered"):
        utils.Registry("EMPTY").get("x")


def test_meters_average_numbers_and_tensors_alike():
    numbers, tensors = utils.MetricMeter(), utils.MetricMeter()
    for value in (1.0, 2.0, 6.0):
        numbers.update({"loss": value})
        tensors.update({"loss": torch.tensor(value, requires_grad=True)})
    tensors.update(None)
    assert str(numbers) == str(tensors) == "loss 6.0000 (3.0000)"
    held = tensors.meters["loss"].pending_avg
    assert isinstance(held, torch.Tensor) and not held.requires_grad
    with pytest.raises(TypeError, match="got Tensor"):
        numbers.update(torch.tensor(1.0))


def test_a_meter_keeps_its_value_when_the_tensor_changes_later():
    meter, value = utils.AverageMeter(), torch.tensor(1.0)
    meter.update(value)
    value.fill_(9.0)
    assert meter.val == 1.0 and meter.avg == 1.0


def test_logger_tees_once_and_keeps_an_earlier_log(tmp_path, monkeypatch):
    console = io.StringIO()
    monkeypatch.setattr(sys, "stdout", console)
    utils.setup_logger(str(tmp_path))
    utils.setup_logger(str(tmp_path))
    print("hello")
    assert console.getvalue() == "hello\n" and (tmp_path / "log.txt").read_text() == "hello\n"
    assert sys.stdout.isatty() is False
    monkeypatch.setattr(sys, "stdout", console)
    utils.setup_logger(str(tmp_path))
    print("again")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2 and re.fullmatch(r"log\.txt-\d{4}(-\d\d){5}", names[1])
    assert (tmp_path / "log.txt").read_text() == "hello\n" and (tmp_path / names[1]).read_text() == "again\n"
    utils.setup_logger(str(tmp_path / "other.log"))
    print("there")
    assert (tmp_path / "other.log").read_text() == "there\n" and (tmp_path / names[1]).read_text() == "again\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_log_that_cannot_be_written_is_named_and_the_terminal_goes_on():
    console = io.StringIO()
    logger = utils.Logger("/dev/full", console)
    with pytest.raises(OSError) as raised:
        logger.write("a line\n")
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == "/dev/full"
    logger.write("what is told of it\n")
    assert console.getvalue() == "a line\nwhat is told of it\n"


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    for kind in (ValueError, OSError):
        with pytest.raises(kind, match=re.escape(str(path))):
            utils.read_image(str(path))


def test_a_picture_cut_short_is_an_error_not_a_grey_half(tmp_path, root):
    whole = (root / "colours" / "red_thing" / "0.png").read_bytes()
    path = tmp_path / "short.png"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="copy or download it again"):
        utils.read_image(str(path))


def test_seed_zero_is_a_seed_and_minus_one_is_none():
    def draws():
        return np.random.rand(), torch.rand(()).item()

    utils.set_random_seed(0)
    first = draws()
    utils.set_random_seed(0)
    assert draws() == first
    utils.set_random_seed(0)
    utils.set_random_seed(-1)
    assert draws() == first
    with pytest.raises(ValueError, match="got -2"):
        utils.set_random_seed(-2)


def test_random_state_comes_back_also_through_a_safe_checkpoint(tmp_path):
    utils.set_random_seed(3)
    np.random.randn()  # leaves half a pair in NumPy's generator
    torch.save(utils.get_random_state(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)

    def draws():
        return np.random.randn(3).tolist(), torch.rand(3).tolist(), __import__("random").random()

    first = draws()
    utils.set_random_state(state)
    assert draws() == first
    with utils.isolated_random_state(7):
        inside = draws()
    after = draws()
    utils.set_random_state(state)
    draws()
    assert draws() == after != inside


def test_environment_is_told_without_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = utils.collect_env_info()
    assert torch.__version__ in text and "numpy" in text


def test_files(tmp_path):
    path = str(tmp_path / "a" / "b.json")
    utils.write_json({"x": [1, 2]}, path)
    assert utils.read_json(path) == {"x": [1, 2]}
    (tmp_path / "a" / ".hidden").write_text("{")
    assert utils.listdir_nohidden(str(tmp_path / "a"), sort=True) == ["b.json"]
    with pytest.raises(ValueError, match="hidden is not valid JSON"):
        utils.read_json(str(tmp_path / "a" / ".hidden"))
    assert utils.tolist_if_not("x") == ["x"] and utils.tolist_if_not(["x"]) == ["x"]
    assert utils.check_isfile(path)
    with pytest.warns(UserWarning, match="nothing"):
        assert not utils.check_isfile(str(tmp_path / "nothing"))


def test_whole_writing_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file):
        file.write(b"new, but")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        utils.write_whole(str(path), fail)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_is_no_ordinary_file_is_not_replaced(tmp_path):
    """A named pipe stands for any device: what root writes to /dev/null must not take its place."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, found in (("pipe", "no ordinary file, but a device, a pipe"), ("folder", "a folder")):
        with pytest.raises(FileExistsError, match=f"cannot write the file {tmp_path / name}: what is there is {found}.*name another file"):
            utils.write_json({}, str(tmp_path / name))
    (tmp_path / "out").touch()
    with open(tmp_path / "out", "rb") as file:  # as /dev/stdout is, where it is redirected to a file
        (tmp_path / "link").symlink_to(f"/proc/self/fd/{file.fileno()}")
        with pytest.raises(FileExistsError, match="what is there is no ordinary file"):
            utils.write_json({}, str(tmp_path / "link"))
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("out")
    utils.write_json({}, str(tmp_path / "link"))  # of one's own, which is replaced
    (tmp_path / "link").unlink()
    (tmp_path / "out").unlink()
    assert (tmp_path / "pipe").is_fifo() and sorted(p.name for p in tmp_path.iterdir()) == ["folder", "pipe"]


def test_network_tools(tmp_path):
    net = nn.Sequential()
    net.add_module("body", nn.Linear(3, 2))
    net.add_module("head", nn.Linear(2, 2))
    assert utils.count_num_param(net) == 14 == utils.count_num_param(params=[{"params": list(net.parameters())}])
    utils.open_specified_layers(net, "head")
    assert not net.body.training and not net.body.weight.requires_grad and net.head.weight.requires_grad
    utils.open_all_layers(net)
    assert net.body.training and net.body.weight.requires_grad
    with pytest.raises(ValueError, match="its layers: \\['body', 'head'\\]"):
        utils.open_specified_layers(net, ["tail"])
    weights = {"module.body.weight": torch.ones(2, 3), "module.head.weight": torch.ones(5, 5)}
    torch.save({"state_dict": weights}, tmp_path / "weights.pth")
    with pytest.warns(UserWarning, match="head.weight"):
        utils.load_pretrained_weights(net, str(tmp_path / "weights.pth"))
    assert bool((net.body.weight == 1).all())
    torch.save({"other": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="no weight of"):
        utils.load_pretrained_weights(net, str(tmp_path / "other.pth"))
    utils.init_network_weights(net, "orthogonal")
    assert bool((net.head.bias == 0).all())
    with pytest.raises(ValueError, match="kaiming"):
        utils.init_network_weights(net, "nonsense")


def test_the_published_module_names_of_the_tools():
    from dassl.utils import tools, torchtools

    for module in (tools, torchtools):
        for name in module.__all__:
            assert getattr(module, name) is getattr(utils, name)
    assert len(tools.__all__) == 12 and len(torchtools.__all__) == 8


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    for folder in ("run", "run/a/b"):
        with pytest.raises(NotADirectoryError, match=f"cannot make the folder .*: {tmp_path / 'run'} is there and is no folder"):
            utils.mkdir_if_missing(str(tmp_path / folder))
        with pytest.raises(NotADirectoryError, match="OUTPUT_DIR"):
            utils.setup_logger(str(tmp_path / folder))
