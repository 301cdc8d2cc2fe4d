"""restorekit: plugin-based restoration of biomedical images without pairs, evaluated with confidence intervals.

This is the public API: everything that a plugin author imports. It is lazy, so `import restorekit` imports no torch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restorekit.core import nd as nd
    from restorekit.core.conformance import conformance_case as conformance_case
    from restorekit.core.errors import CheckpointError as CheckpointError
    from restorekit.core.errors import DataError as DataError
    from restorekit.core.errors import ErrorRecord as ErrorRecord
    from restorekit.core.errors import PluginError as PluginError
    from restorekit.core.errors import RecipeError as RecipeError
    from restorekit.core.errors import RestorekitError as RestorekitError
    from restorekit.core.errors import TrainingError as TrainingError
    from restorekit.core.events import Event as Event
    from restorekit.core.events import Finished as Finished
    from restorekit.core.events import Noticed as Noticed
    from restorekit.core.events import Sampled as Sampled
    from restorekit.core.events import Saved as Saved
    from restorekit.core.events import Scored as Scored
    from restorekit.core.events import Started as Started
    from restorekit.core.events import StepDone as StepDone
    from restorekit.core.events import Stepped as Stepped
    from restorekit.core.formats import Depths as Depths
    from restorekit.core.formats import Format as Format
    from restorekit.core.formats import Intensity as Intensity
    from restorekit.core.nd import MakeLayer as MakeLayer
    from restorekit.core.parts import Factory as Factory
    from restorekit.core.passes import PASSES as PASSES
    from restorekit.core.passes import HistoryPool as HistoryPool
    from restorekit.core.passes import Known as Known
    from restorekit.core.passes import Loss as Loss
    from restorekit.core.passes import LossValue as LossValue
    from restorekit.core.passes import Passes as Passes
    from restorekit.core.passes import PerImage as PerImage
    from restorekit.core.passes import wide as wide
    from restorekit.core.restorer import Restorer as Restorer
    from restorekit.core.tasks import HAS_MASK as HAS_MASK
    from restorekit.core.tasks import UNLABELLED as UNLABELLED
    from restorekit.core.tasks import Task as Task
    from restorekit.core.types import Batch as Batch
    from restorekit.core.types import Dataset as Dataset
    from restorekit.core.types import Degradation as Degradation
    from restorekit.core.types import Discriminator as Discriminator
    from restorekit.core.types import Domain as Domain
    from restorekit.core.types import Encoder as Encoder
    from restorekit.core.types import Generator as Generator
    from restorekit.core.types import Metric as Metric
    from restorekit.core.types import Nets as Nets
    from restorekit.core.types import Output as Output
    from restorekit.core.types import ParameterGroup as ParameterGroup
    from restorekit.core.types import Record as Record
    from restorekit.core.types import Sample as Sample
    from restorekit.core.types import SingleDegradation as SingleDegradation
    from restorekit.core.types import TaskHead as TaskHead
    from restorekit.core.types import Translator as Translator
    from restorekit.data.filedataset import FileDataset as FileDataset
    from restorekit.data.images import read_image as read_image
    from restorekit.data.shares import split_shares as split_shares
    from restorekit.discovery.hookspecs import hookimpl as hookimpl
    from restorekit.evaluation import measures as measures
    from restorekit.evaluation.classification import class_score as class_score
    from restorekit.io.depths import depths_of as depths_of
    from restorekit.io.files import StepTable as StepTable
    from restorekit.io.files import files_below as files_below
    from restorekit.io.files import write_text as write_text
    from restorekit.io.filetypes import find_images as find_images
    from restorekit.io.filetypes import skipped_images as skipped_images
    from restorekit.io.images import write_image as write_image
    from restorekit.io.intensity import Stored as Stored
    from restorekit.io.intensity import cast as cast
    from restorekit.io.intensity import to_stored as to_stored
    from restorekit.io.intensity import to_unit as to_unit
    from restorekit.io.manifests import ManifestRow as ManifestRow
    from restorekit.io.manifests import read_manifest as read_manifest
    from restorekit.io.pictures import draw_grid as draw_grid
    from restorekit.io.vocabulary import refuse_split_classes as refuse_split_classes
    from restorekit.io.vocabulary import refuse_split_folders as refuse_split_folders
    from restorekit.io.vocabulary import sorted_classes as sorted_classes
    from restorekit.io.vocabulary import split_folders as split_folders
    from restorekit.io.vocabulary import split_of as split_of
    from restorekit.restoring.model import load as load

__all__ = [
    "HAS_MASK",
    "PASSES",
    "UNLABELLED",
    "Batch",
    "CheckpointError",
    "DataError",
    "Dataset",
    "Degradation",
    "Depths",
    "Discriminator",
    "Domain",
    "Encoder",
    "ErrorRecord",
    "Event",
    "Factory",
    "FileDataset",
    "Finished",
    "Format",
    "Generator",
    "HistoryPool",
    "Intensity",
    "Known",
    "Loss",
    "LossValue",
    "MakeLayer",
    "ManifestRow",
    "Metric",
    "Nets",
    "Noticed",
    "Output",
    "ParameterGroup",
    "Passes",
    "PerImage",
    "PluginError",
    "RecipeError",
    "Record",
    "RestorekitError",
    "Restorer",
    "Sample",
    "Sampled",
    "Saved",
    "Scored",
    "SingleDegradation",
    "Started",
    "StepDone",
    "StepTable",
    "Stepped",
    "Stored",
    "Task",
    "TaskHead",
    "TrainingError",
    "Translator",
    "cast",
    "class_score",
    "conformance_case",
    "depths_of",
    "draw_grid",
    "files_below",
    "find_images",
    "hookimpl",
    "load",
    "measures",
    "nd",
    "read_image",
    "read_manifest",
    "refuse_split_classes",
    "refuse_split_folders",
    "skipped_images",
    "sorted_classes",
    "split_folders",
    "split_of",
    "split_shares",
    "to_stored",
    "to_unit",
    "wide",
    "write_image",
    "write_text",
]

_HOMES = {
    "evaluation.classification": ("class_score",),
    "io.depths": ("depths_of",),
    "core.errors": (
        "CheckpointError",
        "DataError",
        "ErrorRecord",
        "PluginError",
        "RecipeError",
        "RestorekitError",
        "TrainingError",
    ),
    "core.events": ("Event", "Finished", "Noticed", "Sampled", "Saved", "Scored", "Started", "Stepped", "StepDone"),
    "core.formats": ("Depths", "Format", "Intensity"),
    "data.filedataset": ("FileDataset",),
    "io.files": ("StepTable", "files_below", "write_text"),
    "io.filetypes": ("find_images", "skipped_images"),
    "discovery.hookspecs": ("hookimpl",),
    "data.images": ("read_image",),
    "io.images": ("write_image",),
    "io.intensity": ("Stored", "cast", "to_stored", "to_unit"),
    "io.manifests": ("ManifestRow", "read_manifest"),
    "core.nd": ("MakeLayer",),
    "core.parts": ("Factory",),
    "core.passes": ("PASSES", "HistoryPool", "Known", "Loss", "LossValue", "Passes", "PerImage", "wide"),
    "io.pictures": ("draw_grid",),
    "data.shares": ("split_shares",),
    "core.restorer": ("Restorer",),
    "core.tasks": ("HAS_MASK", "UNLABELLED", "Task"),
    "core.conformance": ("conformance_case",),
    "core.types": (
        "Batch",
        "Dataset",
        "Degradation",
        "Discriminator",
        "Domain",
        "Encoder",
        "Generator",
        "Metric",
        "Nets",
        "Output",
        "ParameterGroup",
        "Record",
        "Sample",
        "SingleDegradation",
        "TaskHead",
        "Translator",
    ),
    "io.vocabulary": (
        "refuse_split_classes",
        "refuse_split_folders",
        "sorted_classes",
        "split_folders",
        "split_of",
    ),
    "restoring.model": ("load",),
}
_MODULES = {"measures": "evaluation.measures", "nd": "core.nd"}
"""Public names that are modules, and their homes."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

try:
    __version__ = version("restorekit")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"restorekit.{_MODULES[name]}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'restorekit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"restorekit.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
