"""The floors: who may import whom, read from the source, and one home for each third-party library."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import restorekit

PACKAGE = Path(restorekit.__file__).parent
ROOT = PACKAGE.parent
FLOORS = {
    "core": {"core"},
    "stages": {"core", "stages"},
    "testing": {"core", "stages", "testing"},
    "app": {"core", "stages", "testing", "app", "face"},
    "builtin": {"face"},
}
"""For each folder, the folders of ours that its files may import; `face` is `restorekit` itself."""

FLOW = ["recipes", "writing", "data", "runs", "scoring", "training", "restoring", "profiling", "reporting", "comparing"]
"""The folders of stages: each imports only from itself and from those before it."""

HOMES = {
    "ruamel": {"stages/recipes/layered.py"},
    "pluggy": {"core/hookspecs.py", "core/plugins.py"},
    "packaging": {"core/guests.py"},
    "pydantic": {"core/parts.py", "stages/recipes/", "builtin/"},
    "typer": {"app/"},
    "rich": {"app/"},
    "safetensors": {"stages/runs/checkpoint.py", "stages/runs/weights.py"},
    "mlflow": {"builtin/trackers.py"},
    "wandb": {"builtin/trackers.py"},
    "PIL": {"stages/data/facts.py", "core/formats/png.py", "core/formats/raster.py", "core/pictures.py"},
    "imagecodecs": {"core/formats/dicom/codecs.py", "core/formats/png.py"},
    "tifffile": {"core/formats/tiff.py"},
    "pydicom": {"core/formats/dicom/"},
    "nibabel": {"core/formats/nifti.py"},
    "kornia_rs": {"core/formats/png.py", "core/formats/jpeg.py"},
    "imagehash": {"stages/data/facts.py"},
    "pyarrow": {"core/manifests.py"},
    "sklearn": {"builtin/"},
    "scipy": {"stages/scoring/audit.py", "stages/scoring/inference.py", "stages/scoring/intervals.py"},
    "statsmodels": {"stages/scoring/inference.py"},
    "jinja2": {"stages/writing/page.py"},
    "matplotlib": {"stages/writing/figures.py"},
    "tensorboard": {"builtin/"},
    "onnx": {"testing/moving.py"},
}
"""Where in the package each library may be imported."""


TEMPLATES = PACKAGE / "app" / "templates"
"""What becomes guests' packages: no code of ours, and held to the rules of guests."""


def sources(folder: str = "") -> list[Path]:
    found = sorted(path for path in (PACKAGE / folder).rglob("*.py") if not path.is_relative_to(TEMPLATES))
    assert found, f"no source in {folder}: this test would check nothing"
    return found


def guests() -> list[Path]:
    return sorted([*(ROOT / "plugins").glob("*/restorekit_*/**/*.py"), *TEMPLATES.glob("*/restorekit_*.py")])


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of every import of a file, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name != "restorekit")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "restorekit":
            yield f"restorekit.{node.attr}"  # after a bare `import restorekit`, what is used is what counts
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import; write the whole name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> Iterator[str]:
    """Yield the folders of restorekit from which a file imports; `face` for the package's own names but its version."""
    for name in imports(path):
        head, _, rest = name.partition(".")
        if head == "restorekit" and rest != "__version__":
            first = rest.partition(".")[0]
            yield first if (PACKAGE / first).is_dir() and first else "face"


def ident(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [p for folder in FLOORS for p in sources(folder)], ids=ident)
def test_a_file_imports_only_what_its_floor_may(path: Path) -> None:
    folder = path.relative_to(PACKAGE).parts[0]
    assert set(ours(path)) <= FLOORS[folder]


@pytest.mark.parametrize("path", guests(), ids=ident)
def test_a_guest_imports_only_the_face(path: Path) -> None:
    assert set(ours(path)) <= {"face"}


def test_the_face_imports_the_core_and_one_door() -> None:
    face = PACKAGE / "__init__.py"
    assert set(ours(face)) == {"core", "stages"}
    assert {name for name in imports(face) if name.startswith("restorekit.stages")} == {
        "restorekit.stages.restoring.restore.load"
    }


def test_the_kit_knows_one_stage_and_one_command_knows_the_kit() -> None:
    kit = {name for path in sources("testing") for name in imports(path) if name.startswith("restorekit.stages")}
    assert kit
    assert {name.rpartition(".")[0] for name in kit} == {"restorekit.stages.runs.checkpoint"}
    users = [path for path in [*sources(), *guests()] if "testing" in ours(path) and path.parent.name != "testing"]
    assert [ident(path) for path in users] == ["restorekit/app/plugin.py"]


def test_the_kit_needs_no_test_runner() -> None:
    assert not [path for path in sources("testing") for name in imports(path) if name.partition(".")[0] == "pytest"]


@pytest.mark.parametrize("path", sources("stages"), ids=ident)
def test_the_folders_of_stages_import_downhill(path: Path) -> None:
    *_, folder, _ = path.relative_to(PACKAGE).parts
    allowed = set(FLOW[: FLOW.index(folder) + 1]) if folder in FLOW else set()
    known = {name.split(".")[2] for name in imports(path) if name.startswith("restorekit.stages.")}
    assert known <= allowed


def test_train_does_not_know_build() -> None:
    names = list(imports(PACKAGE / "stages" / "training" / "train.py"))
    assert "restorekit.stages.runs.run.Run" in names
    assert not any(name.startswith("restorekit.stages.runs.build") for name in names)


@pytest.mark.parametrize("path", sources(), ids=ident)
def test_a_library_has_one_home(path: Path) -> None:
    here = path.relative_to(PACKAGE).as_posix()
    for name in imports(path):
        homes = HOMES.get(name.partition(".")[0])
        assert homes is None or any(here == home or (home.endswith("/") and here.startswith(home)) for home in homes), (
            f"{here} imports {name}, whose home is {sorted(homes)}"
        )


@pytest.mark.parametrize("path", sources("builtin"), ids=ident)
def test_nobody_imports_a_built_in(path: Path) -> None:
    name = f"restorekit.builtin.{path.stem}"
    if path.stem == "__init__":
        return
    every = [*sources(), *guests()]
    assert [ident(p) for p in every if any(one == name or one.startswith(f"{name}.") for one in imports(p))] == []
