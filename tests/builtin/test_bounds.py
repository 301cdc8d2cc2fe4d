"""A wrong value of an option is an error of the recipe, in one line that names part, option and value."""

from typing import Any

import pytest

from restorekit.app import cli
from restorekit.core.errors import Place
from restorekit.discovery import plugins

BLEND = [{"name": "noise", "severity": [0, 11]}]


@pytest.mark.parametrize(
    ("kind", "name", "options", "place"),
    [
        ("generator", "resnet", {"width": 0}, ("width",)),
        ("generator", "resnet", {"width": 10**9}, ("width",)),
        ("generator", "resnet", {"blocks": 0}, ("blocks",)),
        ("generator", "resnet", {"downs": -1}, ("downs",)),
        ("generator", "resnet", {"downs": 30}, ("downs",)),
        ("generator", "unet", {"width": 0}, ("width",)),
        ("generator", "unet", {"depth": 0}, ("depth",)),
        ("generator", "unet", {"dropout": 1.0}, ("dropout",)),
        ("generator", "unet", {"dropout": -0.1}, ("dropout",)),
        ("generator", "unet", {"dropout": float("nan")}, ("dropout",)),
        ("discriminator", "patch", {"width": 0}, ("width",)),
        ("discriminator", "patch", {"layers": 0}, ("layers",)),
        ("discriminator", "patch", {"layers": 20_000}, ("layers",)),
        ("loss", "paired", {"eps": 0.0}, ("eps",)),
        ("loss", "paired", {"eps": float("inf")}, ("eps",)),
        ("loss", "task", {"passes": []}, ("passes",)),
        ("degradation", "noise", {"severity": [-0.1, 0.1]}, ("severity", 0)),
        ("degradation", "blur", {"severity": [0.0, 1e9]}, ("severity", 1)),
        ("degradation", "exposure", {"severity": [0.0, 5000.0]}, ("severity", 1)),
        ("degradation", "exposure", {"severity": [0.0, float("nan")]}, ("severity", 1)),
        ("degradation", "blend", {"least": -1}, ("least",)),
        ("degradation", "blend", {"degradations": BLEND}, ("degradations", 0, "severity", 1)),
        ("dataset", "phantom", {"side": "a", "count": 0}, ("count",)),
        ("dataset", "phantom", {"side": "a", "val": -1}, ("val",)),
        ("dataset", "phantom", {"side": "a", "size": [8, 64]}, ("size", 0)),
        ("dataset", "phantom", {"side": "a", "seed": -1}, ("seed",)),
    ],
)
def test_wrong_values(kind: str, name: str, options: dict[str, Any], place: Place) -> None:
    (error,) = plugins.load().parts.errors(kind, {"name": name, **options})
    assert (error.place, error.code) == (place, "out-of-range")
    assert name in error.message or place[0] == "degradations"
    assert "\n" not in str(error)


def test_on_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["restorekit", "list", "parts", "generator", "resnet", "--set", "width=0"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    result = capsys.readouterr().err
    assert "generator 'resnet': width must be at least 1; got 0" in " ".join(result.split())
    assert "Traceback" not in result
