"""`logs` on logs in the format of this project and the published code bases."""

from tests.datasets.conftest import put
from tests.experiments.run_files import main

RESULT = "=> result\n* total: 4,200\n* correct: 3,913\n* accuracy: {}%\n* error: 6.8%\n* macro_f1: 93.1%\n"
TRAINING = (  # a result on val may come before the end
    "Evaluate on the *val* set\n=> result\n* total: 40\n* correct: 4\n* accuracy: 10.0%\n"
    "epoch [5/5] batch [20/100] time 0.051 (0.055) data 0.000 (0.004) loss 1.8594 (2.2221) lr 1.0000e-05\n"
    f"Finish training\nDeploy the last-epoch model\nEvaluate on the *test* set\n{RESULT}Elapsed: 0:01:05\n"
)
TEST = f"Evaluate on the *test* set\n{RESULT}"


def test_mean_and_spread_over_seeds(tmp_path, capsys):
    for seed, accuracy in enumerate((90.0, 92.0, 94.0), 1):
        put(tmp_path / f"exp/seed{seed}/log.txt", TRAINING.format(accuracy))
    put(tmp_path / "exp/seed10/log.txt", "epoch [1/5]\n")
    put(tmp_path / "exp/seed1.old-2026-01-01-00-00-00/log.txt", TRAINING.format(1.0))  # by --force
    for words, told in (
        ("", "* accuracy: 92.00% +- 1.63%"),  # sqrt(8 / 3)
        ("--ci95", "* accuracy: 92.00% +- 1.85%"),  # 1.96 * 1.633 / sqrt(3)
        ("--keyword total", "* total: 4200.00% +- 0.00%"),
    ):
        assert main("logs", tmp_path / "exp", *words.split()) == 0
        out = capsys.readouterr().out
        assert told in out and "3 of 4 runs" in out
    (tmp_path / "empty").mkdir()
    assert main("logs", tmp_path, "--multi-exp") == 0
    assert "Average over 1 experiments:\n* accuracy: 92.00%" in capsys.readouterr().out
    assert main("logs", tmp_path) == main("logs", tmp_path / "empty") == 2


def test_logs_of_tests_need_the_flag(tmp_path, capsys):
    put(tmp_path / "seed1/log.txt", TEST.format(93.2))
    assert main("logs", tmp_path) == 2
    assert main("logs", tmp_path, "--test-log") == 0
    assert "* accuracy: 93.20% +- 0.00%" in capsys.readouterr().out


def test_the_newest_log_with_a_result_and_its_last_result_count(tmp_path, capsys):
    for name, text in (
        ("log.txt", TRAINING.format(50.0)),
        ("log.txt-2022-10-02-09-59-59", TRAINING.format(60.0)),
        ("log.txt-2022-10-11-08-00-00", TRAINING.format(70.0) + TEST.format(71.5)),
        ("log.txt-2022-10-12-08-00-00", "epoch [1/5]\n"),
        ("log.txt.swp", TRAINING.format(1.0)),
    ):
        put(tmp_path / "seed1" / name, text)
    assert main("logs", tmp_path) == 0
    assert "log.txt-2022-10-11-08-00-00. accuracy: 71.50%" in capsys.readouterr().out
