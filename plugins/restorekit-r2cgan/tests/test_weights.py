from __future__ import annotations

import numpy as np
import pytest
import torch
from restorekit_r2cgan import export_weights, import_nets, import_weights

from restorekit import DataError, Domain, Nets, Task, Translator
from restorekit.discovery.plugins import load

DOMAIN = Domain("a", 3, (16, 16), Task("class", ("control", "covid")))
SPECS = {
    "operational": {"name": "r2cgan_compact", "layer": {"name": "selfonn", "q": 2}, "width": 8},
    "light": {"name": "r2cgan_compact", "activation": "relu", "width": 8},
    "deep": {"name": "r2cgan_cnn"},
}


def translator(name: str) -> Translator:
    generator = load().parts.resolve("generator", SPECS[name])(DOMAIN, DOMAIN)
    return Translator(generator, load().parts.resolve("head", "classify")(generator.features, DOMAIN))


@pytest.mark.parametrize("name", SPECS)
def test_there_and_back(name):
    first, second = translator(name), translator(name)
    arrays = export_weights(first)
    assert [array.shape for array in arrays[-2:]] == [(first.generator.features, 2), (2,)]
    import_weights(second, arrays)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        if one.ndim == 2 and one.shape[0] == 2 and name == "operational":
            one, two = one.sum(0), two.sum(0)
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", ["r2cgan_compact", "r2cgan_cnn"])
def test_discriminators_there_and_back(name):
    first, second = (load().parts.resolve("discriminator", name)(DOMAIN) for _ in range(2))
    import_weights(second, export_weights(first))
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), second.parameters(), strict=True))


def test_kernels_stand_as_in_tensorflow():
    net = translator("operational")
    arrays = export_weights(net)
    assert arrays[0].shape == (3, 3, 3, 8)  # down, order 1: height, width, in, out
    np.testing.assert_array_equal(arrays[1][0, 1, 2, 3], net.generator.down.layer.weight[3, 3 + 2, 0, 1].detach())
    assert arrays[12].shape == (3, 3, 3, 8)  # up, order 1: height, width, out, in
    assert arrays[13].shape == (3,)
    np.testing.assert_array_equal(arrays[14][0, 1, 2, 3], net.generator.up.layer.weight[8 + 3, 2, 0, 1].detach())


def test_the_head_may_stand_anywhere():
    first, second = translator("deep"), translator("deep")
    arrays = export_weights(first)
    import_weights(second, [*arrays[:39], *arrays[-2:], *arrays[39:-2]])
    assert torch.equal(first.head.dense.weight, second.head.dense.weight)
    assert torch.equal(first.generator.after[-2].layer.weight, second.generator.after[-2].layer.weight)


def test_what_does_not_fit_changes_nothing():
    net = translator("operational")
    arrays = export_weights(net)
    with pytest.raises(DataError, match=f"{len(arrays) - 1} .*{len(arrays)}"):
        import_weights(net, arrays[:-1])
    wrong = [np.zeros_like(array) for array in arrays]
    wrong[2] = np.zeros(7, np.float32)
    with pytest.raises(
        DataError, match=r"array 2 \(generator.down_norm.weight\) must have the shape \(8,\); got \(7,\)"
    ):
        import_weights(net, wrong)
    assert np.array_equal(export_weights(net)[0], arrays[0])


def test_nets_by_the_authors_names():
    nets, other = Nets(translator("light")), translator("light")
    import_nets(nets, {"G_A2B": export_weights(other)})
    assert torch.equal(nets.ab.head.dense.weight, other.head.dense.weight)
    for name in ("G_B2A", "unknown"):
        with pytest.raises(DataError, match=f"'{name}'; .*G_A2B"):
            import_nets(nets, {name: []})
