"""A wrong value of an option is a fault of the recipe, in one line that names part, option and value."""

from typing import Any

import pytest

from restorekit import RecipeError
from restorekit.app import cli
from restorekit.discovery import plugins

BLEND = [{"name": "noise", "severity": [0, 11]}]


@pytest.mark.parametrize(
    ("kind", "name", "options", "says"),
    [
        ("generator", "resnet", {"width": 0}, "width: .* 1; came 0"),
        ("generator", "resnet", {"width": 10**9}, "width: .* 4096; came 1000000000"),
        ("generator", "resnet", {"blocks": 0}, "blocks: .* 1; came 0"),
        ("generator", "resnet", {"downs": -1}, "downs: .* 0; came -1"),
        ("generator", "resnet", {"downs": 30}, "downs: .* 8; came 30"),
        ("generator", "unet", {"width": 0}, "width: .* 1; came 0"),
        ("generator", "unet", {"depth": 0}, "depth: .* 1; came 0"),
        ("generator", "unet", {"dropout": 1.0}, "dropout: .* less than 1; came 1"),
        ("generator", "unet", {"dropout": -0.1}, "dropout: .* 0; came -0.1"),
        ("generator", "unet", {"dropout": float("nan")}, "dropout: .*; came nan"),
        ("discriminator", "patch", {"width": 0}, "width: .* 1; came 0"),
        ("discriminator", "patch", {"layers": 0}, "layers: .* 1; came 0"),
        ("discriminator", "patch", {"layers": 20_000}, "layers: .* 16; came 20000"),
        ("loss", "paired", {"eps": 0.0}, "eps: .*; came 0"),
        ("loss", "paired", {"eps": float("inf")}, "eps: .*; came inf"),
        ("loss", "task", {"passes": []}, r"passes: list should have at least 1 item .*; came \[\]"),
        ("degradation", "noise", {"severity": [-0.1, 0.1]}, "severity.0: .* 0; came -0.1"),
        ("degradation", "blur", {"severity": [0.0, 1e9]}, "severity.1: .* 1000; came 1000000000"),
        ("degradation", "exposure", {"severity": [0.0, 5000.0]}, "severity.1: .* 10; came 5000"),
        ("degradation", "exposure", {"severity": [0.0, float("nan")]}, "severity.1: .*; came nan"),
        ("degradation", "blend", {"least": -1}, "least: .* 0; came -1"),
        ("degradation", "blend", {"degradations": BLEND}, "degradation 'noise': severity.1: .* 10; came 11"),
        ("dataset", "phantom", {"side": "a", "count": 0}, "count: .* 1; came 0"),
        ("dataset", "phantom", {"side": "a", "val": -1}, "val: .* 0; came -1"),
        ("dataset", "phantom", {"side": "a", "size": [8, 64]}, "size.0: .* 16; came 8"),
        ("dataset", "phantom", {"side": "a", "seed": -1}, "seed: .* 0; came -1"),
    ],
)
def test_wrong_values(kind: str, name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        plugins.load().parts.resolve(kind, {"name": name, **options})
    assert "\n" not in str(caught.value)


def test_on_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["restorekit", "parts", "generator", "resnet", "--set", "width=0"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "generator 'resnet': width: input should be greater than or equal to 1; came 0" in " ".join(said.split())
    assert "Traceback" not in said
