"""tools/parse_test_res.py on logs of this project and in the format of the published code bases."""

from __future__ import annotations

from pathlib import Path

import pytest

from reporting.logs import END_OF_TEST, END_OF_TRAINING, read_log
from tools.parse_test_res import main

RESULT = "=> result\n* total: 4,200\n* correct: 3,913\n* accuracy: {accuracy}%\n* error: 6.8%\n* macro_f1: 93.1%\n"
TRAINING = (  # as the published code bases print it: a val result may come before the end
    "** Arguments **\nbackbone: \nEvaluate on the *val* set\n=> result\n* total: 40\n* correct: 4\n* accuracy: 10.0%\n"
    "epoch [5/5] batch [20/100] time 0.051 (0.055) data 0.000 (0.004) loss 1.8594 (2.2221) lr 1.0000e-05 eta 0:00:14\n"
    "Checkpoint saved to output/prompt_learner/model.pth.tar-5\nFinish training\nDeploy the last-epoch model\n"
    "Evaluate on the *test* set\n" + RESULT + "Elapsed: 0:01:05\n"
)
TEST_ALONE = 'Loading weights to prompt_learner from "x" (epoch = 5)\nEvaluate on the *test* set\n' + RESULT


def write_log(path: Path, text: str, accuracy: str = "93.2") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{accuracy}", accuracy))


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    for seed, accuracy in enumerate(("90.0", "92.0", "94.0"), 1):
        write_log(tmp_path / f"exp/seed{seed}/log.txt", TRAINING, accuracy)
    return tmp_path / "exp"


def test_mean_and_population_deviation_over_seeds(seeds, capsys):
    assert main([str(seeds)]) == 0
    out = capsys.readouterr().out
    assert "* accuracy: 92.00% +- 1.63%" in out  # sqrt(8 / 3)
    assert "seed1/log.txt. accuracy: 90.00%" in out and "Summary of 3 runs" in out


def test_interval_of_95_percent(seeds, capsys):
    assert main([str(seeds), "--ci95"]) == 0
    assert "* accuracy: 92.00% +- 1.85%" in capsys.readouterr().out  # 1.96 * 1.633 / sqrt(3)


def test_other_keywords_and_numbers_with_commas(seeds, capsys):
    assert main([str(seeds), "--keyword", "macro_f1"]) == 0
    assert "* macro_f1: 93.10% +- 0.00%" in capsys.readouterr().out
    assert read_log(seeds / "seed1/log.txt", "total", END_OF_TRAINING) == 4200.0


def test_logs_of_a_test_alone_need_the_flag(tmp_path, capsys):
    write_log(tmp_path / "seed1/log.txt", TEST_ALONE)
    assert main([str(tmp_path)]) == 2
    assert "after 'Finish training'; logs of a test alone need --test-log" in capsys.readouterr().err
    assert main([str(tmp_path), "--test-log"]) == 0
    assert "* accuracy: 93.20% +- 0.00%" in capsys.readouterr().out


def test_a_rerun_with_a_time_in_its_name_replaces_the_first_log(tmp_path, capsys):
    write_log(tmp_path / "seed1/log.txt", TRAINING, "50.0")
    write_log(tmp_path / "seed1/log.txt-2022-10-02-09-59-59", TRAINING, "60.0")
    write_log(tmp_path / "seed1/log.txt-2022-10-11-08-00-00", TRAINING, "70.0")
    write_log(tmp_path / "seed1/log.txt.swp", TRAINING, "1.0")
    assert main([str(tmp_path)]) == 0
    assert "log.txt-2022-10-11-08-00-00. accuracy: 70.00%" in capsys.readouterr().out


def test_an_unfinished_rerun_leaves_the_older_result_and_says_so(tmp_path, capsys):
    write_log(tmp_path / "seed1/log.txt", TRAINING, "50.0")
    write_log(tmp_path / "seed1/log.txt-2022-10-11-08-00-00", "epoch [1/5] batch [20/100]\n")
    assert main([str(tmp_path)]) == 0
    assert "accuracy: 50.00% (log.txt-2022-10-11-08-00-00 is newer but has no result)" in capsys.readouterr().out


def test_an_unfinished_run_is_not_averaged_over_silently(seeds, capsys):
    write_log(seeds / "seed10/log.txt", "epoch [1/5] batch [20/100]\n")
    assert main([str(seeds)]) == 0
    out = capsys.readouterr().out
    assert "Summary of 3 of 4 runs" in out and "no result:" in out and "seed10" in out


def test_several_experiments_are_averaged(tmp_path, capsys):
    for name, accuracy in (("a", "80.0"), ("b", "90.0")):
        for seed in (1, 2):
            write_log(tmp_path / name / f"seed{seed}/log.txt", TRAINING, accuracy)
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path), "--multi-exp"]) == 0
    told = capsys.readouterr()
    assert "Average over 2 experiments:\n* accuracy: 85.00%" in told.out and "left out: no log.txt in" in told.err
    assert main([str(tmp_path)]) == 2
    assert "add --multi-exp" in capsys.readouterr().err


def test_the_last_result_of_a_log_that_was_appended_to_counts(tmp_path):
    path = tmp_path / "log.txt"
    write_log(path, TEST_ALONE.replace("{accuracy}", "10.0") + TEST_ALONE, "20.0")
    assert read_log(path, "accuracy", END_OF_TEST) == 20.0


def test_nan_is_refused(tmp_path, capsys):
    write_log(tmp_path / "seed1/log.txt", TEST_ALONE.replace("{accuracy}%", "nan%"))
    assert main([str(tmp_path), "--test-log"]) == 2
    assert "accuracy is nan; a mean over it would be wrong" in capsys.readouterr().err


def test_the_evaluator_of_this_project_prints_what_is_parsed(tmp_path, capsys):
    import torch

    from dassl.config import get_cfg_default
    from dassl.evaluation import build_evaluator

    evaluator = build_evaluator(get_cfg_default())
    evaluator.process(torch.eye(4), torch.tensor([0, 1, 2, 0]))
    evaluator.evaluate()
    write_log(tmp_path / "seed1/log.txt", "Finish training\n" + capsys.readouterr().out)
    assert main([str(tmp_path)]) == 0
    assert "* accuracy: 75.00%" in capsys.readouterr().out
