"""Who may import whom, read from the source; the order stands in docs/architecture.md."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import restorekit

PACKAGE = Path(restorekit.__file__).parent
ROOT = PACKAGE.parent
TEMPLATES = PACKAGE / "app" / "templates"
"""What becomes plugins' packages: no code of ours, and held to the rules of plugins."""

HOMES = {
    "ruamel": {"recipes/layered.py"},
    "pluggy": {"discovery/hookspecs.py"},
    "packaging": {"discovery/installed.py", "runs/libraries.py"},
    "pydantic": {"parts/", "recipes/", "builtin/"},
    "typer": {"app/"},
    "rich": {"app/"},
    "safetensors": {"runs/checkpoint.py", "runs/weights.py"},
    "mlflow": {"builtin/trackers.py"},
    "wandb": {"builtin/trackers.py"},
    "PIL": {"data/image_facts.py", "io/formats/png.py", "io/formats/raster.py", "io/pictures.py"},
    "imagecodecs": {"io/formats/dicom/codecs.py", "io/formats/png.py"},
    "tifffile": {"io/formats/tiff.py"},
    "dicognito": {"restoring/anonymous.py"},
    "pydicom": {"io/formats/dicom/", "restoring/anonymous.py"},  # the latter changes data sets, and reads no file
    "nibabel": {"io/formats/nifti.py"},
    "kornia_rs": {"io/formats/png.py", "io/formats/jpeg.py"},
    "imagehash": {"data/image_facts.py"},
    "platformdirs": {"io/files.py"},
    "pyarrow": {"io/manifests.py"},
    "sklearn": {"builtin/"},
    "scipy": {"data/warnings.py", "evaluation/", "restoring/text.py"},
    "statsmodels": {"evaluation/inference.py"},
    "jinja2": {"reports/page.py"},
    "matplotlib": {"reports/figures.py"},
    "tensorboard": {"builtin/"},
    "onnx": {"testing/portability.py"},
    "ray": {"restoring/cluster.py"},
}
"""Where in the package each library may be imported."""


def order() -> list[str]:
    """Return the folders of the package as the page orders them: each imports only itself and those before it."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("core < ")]
    return line.split(" < ")


def sources(folder: str = "") -> list[Path]:
    found = sorted(path for path in (PACKAGE / folder).rglob("*.py") if not path.is_relative_to(TEMPLATES))
    assert found, f"no source in {folder}: this test would check nothing"
    return found


def plugin_sources() -> list[Path]:
    found = [*sources("builtin"), *(ROOT / "plugins").glob("*/restorekit_*/**/*.py"), *TEMPLATES.rglob("*.py")]
    return sorted(path for path in found if "tests" not in path.parts)


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


def folders(path: Path) -> set[str]:
    """Return the folders of restorekit from which a file imports; `public` for the names of the public API."""
    found = set()
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "restorekit" and rest != "__version__":
            first = rest.partition(".")[0]
            found.add(first if (PACKAGE / first / "__init__.py").is_file() and "." in rest else "public")
    return found


def where(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_order_names_every_folder_of_the_package() -> None:
    there = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {*order(), "builtin"} == there


def test_folders_import_only_those_before_them() -> None:
    names = order()
    wrong = [
        f"{where(path)} imports {folder}"
        for at, name in enumerate(names)
        for path in sources(name)
        for folder in sorted(folders(path) - set(names[: at + 1]) - ({"public"} if name == "app" else set()))
    ]
    assert wrong == []


def test_plugins_import_the_public_api_alone_and_nobody_imports_a_built_in() -> None:
    assert [where(path) for path in plugin_sources() if not folders(path) <= {"public"}] == []
    assert [where(path) for path in sources() if "builtin" in folders(path)] == []


def test_the_kit_imports_contracts_and_one_run_module() -> None:
    names = {name for path in sources("testing") for name in imports(path) if name.startswith("restorekit.runs.")}
    assert {name.rpartition(".")[0] for name in names} == {"restorekit.runs.checkpoint"}
    assert {folder for path in sources("testing") for folder in folders(path)} == {
        "core",
        "discovery",
        "parts",
        "runs",
        "testing",
    }
    assert [where(path) for path in sources() if "pytest" in set(imports(path))] == []


def test_reading_and_restoring_files_import_no_torch(tmp_path: Path) -> None:
    names = [where(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in sources("io")]
    names += ["restorekit.core.formats", "restorekit.restoring.restore"]
    code = (
        "import importlib, sys; import numpy as np; "
        f"[importlib.import_module(name) for name in {names}]; "
        "from restorekit.io.images import read_image, write_image; "
        "write_image('x.png', np.zeros((1, 4, 4))); read_image('x.png'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "False"
    assert [where(path) for path in sources("io") if any(name.split(".")[0] == "torch" for name in imports(path))] == []


def test_train_does_not_import_build() -> None:
    names = list(imports(PACKAGE / "training" / "train.py"))
    assert "restorekit.runs.run.Run" in names
    assert not any(name.startswith("restorekit.runs.build") for name in names)


def test_each_library_has_one_home() -> None:
    wrong = []
    for path in sources():
        here = path.relative_to(PACKAGE).as_posix()
        for name in imports(path):
            homes = HOMES.get(name.partition(".")[0])
            if homes and not any(here == home or (home.endswith("/") and here.startswith(home)) for home in homes):
                wrong.append(f"{here} imports {name}, whose home is {sorted(homes)}")
    assert wrong == []
