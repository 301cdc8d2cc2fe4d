"""`audit: split` by the command line: run, taken up again, asked again, and of a run that has no classifier."""

import json
import shutil
from pathlib import Path

import pytest

from tests.app.calls import Cli, finished_folder, restored_folder

pytestmark = pytest.mark.usefixtures("without_figures")

RECIPE = """\
name: audited
data:
  size: [16, 16]
  a:
    name: degraded
    dataset: {name: phantom, side: a, count: 16, val: 2, test: 6, size: [32, 32]}
    degradation: {name: noise, severity: [0.1, 0.2]}
  b: {name: phantom, side: b, count: 16, val: 2, test: 6, size: [32, 32]}
nets:
  generator: {name: resnet, width: 4, blocks: 1, downs: 1}
  discriminator: {name: patch, width: 4, layers: 1}
losses: [lsgan]
train: {steps: 2}
evaluate: {resamples: 20}
audit: {name: split, classifier: {name: unet, width: 4}, steps: 3}
loggers: [csv]
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return write_recipe(tmp_path)


def write_recipe(folder: Path) -> Path:
    """Write the recipe."""
    path = folder / "audited.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has an audit."""
    return finished_folder(tmp_path_factory.mktemp("audited"), write_recipe)


@pytest.fixture(scope="module")
def unaudited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run without an audit, and a checkpoint of every step."""
    sets = ("--set", "audit=null", "--set", "train.save_every=1")
    return finished_folder(tmp_path_factory.mktemp("unaudited"), write_recipe, *sets)


def test_a_run_with_an_audit(cli: Cli, audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = restored_folder(audited, monkeypatch) / "audited.yaml"
    run = Path("runs/audited-1")
    found = json.loads((run / "scores/audit.json").read_text())
    assert found["images"] == found["contrast"]["images"] * 2, "every other phantom has an opacity"
    assert found["classifier"]["shared"] == 0
    assert json.loads((run / "classifier/recipe.json").read_text())["data"]["half"] == "second"
    report = (run / "report.html").read_text()
    assert "Did restoration keep the disease?" in report
    assert found["sentences"][0] in report
    assert report.index(found["headline"][0]) < report.index("Pictures"), "it stands among what was found"
    assert (run / "classifier/report.html").is_file()

    before = (run / "scores/audit.csv").read_bytes(), found
    again = cli("audit", run)
    assert again.code == 0, again
    assert all(sentence in again.out for sentence in found["sentences"])
    assert ((run / "scores/audit.csv").read_bytes(), json.loads((run / "scores/audit.json").read_text())) == before
    other = cli("audit", run, "--classifier", run / "classifier")
    assert other.code == 0, other
    resumed = cli("run", recipe, "--resume", run)
    assert resumed.code == 0, resumed
    assert ((run / "scores/audit.csv").read_bytes(), json.loads((run / "scores/audit.json").read_text())) == before


def test_a_run_without_a_classifier(cli: Cli, unaudited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restored_folder(unaudited, monkeypatch)
    assert "Did restoration keep the disease?" not in Path("runs/audited-1/report.html").read_text()
    asked = cli("audit", "runs/audited-1")
    assert asked.code == 2
    assert not Path("runs/audited-1/classifier").exists(), "nothing is trained that nobody asked for"
    (line,) = asked.errors
    assert "restorekit audit runs/audited-1 --train-classifier" in line
    itself = cli("audit", "runs/audited-1", "--classifier", "runs/audited-1")
    assert itself.errors == ["runs/audited-1: has the generator of the run, 'resnet'; use another architecture"]


def test_train_classifier_trains_one_for_a_run_without_audit(
    cli: Cli,
    unaudited: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restored_folder(unaudited, monkeypatch)
    run = Path("runs/audited-1")
    scores = (run / "scores/test.csv").read_bytes()
    result = cli("audit", run, "--train-classifier")
    assert (result.code, result.errors) == (0, [])
    classifier = json.loads((run / "classifier/recipe.json").read_text())
    assert (classifier["data"]["half"], classifier["train"]["steps"], classifier["nets"]["generator"]["name"]) == (
        None,
        2,
        "unet",
    )
    found = json.loads((run / "scores/audit.json").read_text())
    assert found["classifier"]["shared"] == found["classifier"]["trained"], (
        "both were trained on all, and the report says so"
    )
    assert (run / "scores/test.csv").read_bytes() == scores

    table = (run / "scores/audit.csv").read_bytes()
    shutil.rmtree(run / "classifier/checkpoints/step_000000002")  # as if its training had been stopped after step 1
    stopped = cli("audit", run)
    assert stopped.code == 2
    assert "--train-classifier" in stopped.errors[0]
    assert cli("audit", run, "--train-classifier").code == 0
    assert (run / "scores/audit.csv").read_bytes() == table
    assert cli("audit", run, "--train-classifier").code == 0, "one that is trained is used"
    assert cli("audit", run, "--train-classifier", "--classifier", run / "classifier").code == 2


def test_audit_asks_on_a_terminal_before_it_trains(
    cli: Cli,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = ("--set", "audit=null", "--set", "data.half=first", "--set", "nets.generator={name: unet, width: 4}")
    assert cli("run", recipe, *half).code == 0
    run = Path("runs/audited-1")
    questions: list[str] = []
    monkeypatch.setattr("restorekit.app.auditing._asks_people", lambda: True)

    def confirm_with(answer: bool) -> None:
        monkeypatch.setattr("typer.confirm", lambda text, **kwargs: questions.append(text) or answer)

    confirm_with(False)
    assert cli("audit", run).code == 2
    assert not (run / "classifier").exists()
    confirm_with(True)
    assert cli("audit", run).code == 0
    classifier = json.loads((run / "classifier/recipe.json").read_text())
    assert (classifier["data"]["half"], classifier["nets"]["generator"]["name"]) == ("second", "resnet")
    assert len(questions) == 2
    assert all(str(run) in question for question in questions)
    assert cli("audit", run).code == 0
    assert len(questions) == 2, "one that is trained needs no question"


def test_one_classifier_serves_a_sweep(cli: Cli, recipe: Path) -> None:
    result = cli("run", recipe, "--seeds", "2")
    assert result.code == 0, result
    first, second = Path("runs/audited-seed0"), Path("runs/audited-seed1")
    assert (first / "classifier").is_dir()
    assert not (second / "classifier").exists(), "that of the first was asked"
    audits = [json.loads((run / "scores/audit.json").read_text())["classifier"] for run in (first, second)]
    assert [one.pop("folder") for one in audits] == ["classifier", "../audited-seed0/classifier"]
    assert audits[0] == audits[1]
    assert "(run folder ../audited-seed0/classifier)" in (second / "report.html").read_text()


def test_a_run_that_cannot_be_audited_does_not_stop_the_others(
    cli: Cli,
    audited: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restored_folder(audited, monkeypatch)
    scores = Path("runs/audited-1/scores/audit.json")
    before = scores.read_text()
    scores.unlink()
    result = cli("audit", "runs/nothing", "runs/audited-1")
    assert result.code == 3
    assert result.errors == [
        "runs/nothing: is no run folder: it has no recipe.json",
        "1 of 2 could not be audited",
    ]
    mistyped = cli("audit", "runs/audited-1", "runs/audited-1", "--classifier", "runs/typo")
    assert mistyped.code == 2
    assert mistyped.errors == ["runs/typo: is no run folder: it has no recipe.json"]
    assert scores.read_text() == before


def test_missing_weights_of_audit_classifier_are_reported_before_training(cli: Cli, recipe: Path) -> None:
    result = cli(
        "run", recipe, "--set", "audit.classifier={name: timm, model: test_efficientnet, checkpoint: weights.pth}"
    )
    assert result.code == 2
    assert len(result.errors) == 1
    assert "weights.pth" in result.errors[0], result
    assert not list(Path("runs").glob("*/checkpoints"))


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("audit=halves", "audit: must be 'split' or 'same'; got 'halves'"),
        (
            "audit.classifier=resnet",
            "audit.classifier: is 'resnet', as nets.generator; an audit classifier needs another architecture",
        ),
        ("data.half=third", "data.half: must be 'first' or 'second'; got 'third'"),
    ],
)
def test_what_cannot_be_asked(cli: Cli, recipe: Path, key: str, line: str) -> None:
    result = cli("check", recipe, "--set", key)
    assert result.code == 2
    assert len(result.errors) == 1
    assert result.errors[0].endswith(line), result
