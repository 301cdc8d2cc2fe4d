"""R2C-GAN for restorekit: Ahishali et al., "R2C-GAN: Restore-to-Classify GANs for Blind X-Ray Restoration and COVID-19
Classification", arXiv:2209.14770.

Generators and discriminators `r2cgan_compact` (operational, or convolutional with the layer `conv`) and `r2cgan_cnn`
(deep); the dataset `r2cgan_folders`; and `weights`, which reads the authors' TensorFlow weights.
"""  # noqa: D205

from __future__ import annotations

from restorekit_r2cgan.compact import CompactDiscriminator, CompactGenerator
from restorekit_r2cgan.deep import DeepDiscriminator, DeepGenerator
from restorekit_r2cgan.folders import Folders
from restorekit_r2cgan.weights import export_weights, import_nets, import_weights

__all__ = [
    "CompactDiscriminator",
    "CompactGenerator",
    "DeepDiscriminator",
    "DeepGenerator",
    "Folders",
    "export_weights",
    "import_nets",
    "import_weights",
]
