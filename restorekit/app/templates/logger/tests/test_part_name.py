import json
import math

from restorekit import Finished, Scored, Started, StepDone, Stepped

from restorekit_part_name import lines


def written(folder, first, last, **options):
    """Write what a run says of the steps from `first` on, and return the file."""
    log = lines(folder, **options)
    log(Started(first, 4, 2, ("cycle",), ("psnr",)))
    for step in range(first + 1, last + 1):
        log(Stepped(step, 0, 1e-4, {"cycle": 1 / step}))
        if step % 2 == 0:
            log(Scored(step, {"psnr": math.nan if step == 2 else 21.5}))
        log(StepDone(step))
    log(Finished(last))
    return folder / "part_name.jsonl"


def test_a_line_a_log_and_a_line_a_validation(tmp_path):
    found = [json.loads(line) for line in written(tmp_path, 0, 4, digits=3).read_text("utf-8").splitlines()]
    assert found == [
        {"step": 1, "cycle": 1.0},
        {"step": 2, "cycle": 0.5},
        {"step": 2, "psnr": None},
        {"step": 3, "cycle": 0.333},
        {"step": 4, "cycle": 0.25},
        {"step": 4, "psnr": 21.5},
    ]


def test_a_run_that_was_killed_and_goes_on_leaves_the_file_of_one_that_never_stopped(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = written(whole, 0, 4).read_bytes()
    torn = written(killed, 0, 3)
    torn.write_bytes(torn.read_bytes()[:-5])
    assert written(killed, 2, 4).read_bytes() == expected


def test_another_run_begins_anew(tmp_path):
    once = written(tmp_path, 0, 4).read_bytes()
    assert written(tmp_path, 0, 4).read_bytes() == once
