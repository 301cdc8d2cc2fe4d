"""The released models: what each is for, and its files, which are read from the package or from a URL."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from restorekit import CheckpointError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MODELS", "File", "Model", "model", "tensors", "verified"]

PACKAGE = "restorekit_models"


@dataclass(frozen=True)
class File:
    """A file of tensors, by safetensors.

    Args:
        name: its name.
        sha256: of its bytes, in hexadecimal digits; other bytes are refused.
        url: where it is; None: in this package.
    """

    name: str
    sha256: str
    url: str | None = None


@dataclass(frozen=True)
class Model:
    """A released model.

    Args:
        name: of the part, of kind restorer.
        task: what it does.
        modality: of the images.
        scale: output size over input size.
        trained_at: the size of the training images, in pixels.
        files: its weights, and what else it reads.
        trained_on: the training images, their source and licence.
        licence: of the weights.
        pictures: the source of the images that its card shows.
        limits: what goes wrong, and what it was not scored on.
        not_for: uses that are ruled out.
        recipe: the shipped recipe that scores it on a folder of good images.
    """

    name: str
    task: str
    modality: str
    scale: int
    trained_at: str
    files: tuple[File, ...]
    trained_on: str
    licence: str
    pictures: str
    limits: tuple[str, ...]
    not_for: tuple[str, ...]
    recipe: str

    @property
    def card(self) -> Traversable:
        """The folder of its card: card.md, pictures, and scores.json."""
        return files(PACKAGE) / "cards" / self.name


FILM_BASE_STRUCTURE = File(
    "film_base_structure.safetensors", "8c45db4dd9a108d368f81f4846fe78e4bfd04a41e71347576e98dd62275fc131"
)
FILM_TONE = File("film_base_tone.safetensors", "d2dd9d1820a3311111e3770e54954f4e421bc18caa174b5ebf2d44a435794d36")
FILM_BASE_RANGES = File(
    "film_base_ranges.safetensors", "85ba3bcd5749581eeefdef0c7299a5511d56ce4dc4570e059c52f5d47b206dae"
)
FILM_TINY_STRUCTURE = File(
    "film_tiny_structure.safetensors", "1b30a8989e62e599506a1f56cbc87da0c2edacc94ccdec67698c65e52e5d8585"
)
PEDIATRIC_DENOISE = File(
    "pediatric_denoise.safetensors", "6884f1c7339e64826d7c56498d0bfa1a0a4067c38b2ec7f3192915a9503a2438"
)
PEDIATRIC_DENOISE_RANGES = File(
    "pediatric_denoise_ranges.safetensors", "2ec1c03640a0bc67dca38e9beaaad5813a94ff8d3f42e979686d850b5d2e7c42"
)
NIH = "NIH ChestX-ray14 (Wang et al., CVPR 2017, doi:10.1109/CVPR.2017.369; no restrictions on use, to be cited)"
HANNOVER = "the Hannover COVID-19 image repository (Winther et al. 2020, doi:10.6084/m9.figshare.12275009; CC BY 3.0)"
KERMANY = "the paediatric films of Kermany et al. 2018 (doi:10.17632/rscbjbr9sj; CC BY 4.0)"
FILMS_TRAINED_ON = f"Structure: 150 films of {NIH}. Tone: 346 films of the same and 5 of {HANNOVER}."
FILM_LIMITS = (
    "The tone of a film that is unusual by itself may be taken for a defect; tone: 0 leaves tones alone. Of ten draws "
    "of degradations of each of the 40 test films, film_base made 1.2 % worse by more than 0.5 dB (0.0 to 3.2), one of "
    "them by 8.3 dB, of a film of which half is white.",
    "Lines one pixel wide that are as faint as the noise are removed.",
    "Under strong noise the film looks smoother than a good film.",
    "Not scored: children, other parts of the body, other views, inverted films, films much larger than "
    "1024 x 1024 pixels, whose noise is finer than what the networks were trained on.",
)
NOT_FOR = ("Diagnosis.", "Deciding that a finding is absent because the restored image does not show it.")

MODELS: Mapping[str, Model] = {
    one.name: one
    for one in (
        Model(
            name="film_base",
            task="takes away noise, blur, grid lines, compression; corrects exposure, contrast, scattered radiation",
            modality="frontal chest radiographs of adults, CR and DX",
            scale=1,
            trained_at="1024 x 1024",
            files=(FILM_BASE_STRUCTURE, FILM_TONE, FILM_BASE_RANGES),
            trained_on=FILMS_TRAINED_ON,
            licence="Apache-2.0",
            pictures=NIH,
            limits=FILM_LIMITS,
            not_for=NOT_FOR,
            recipe="score_films",
        ),
        Model(
            name="film_tiny",
            task="as film_base, with a fifth of its weights for structure: about twice as fast, a little worse",
            modality="frontal chest radiographs of adults, CR and DX",
            scale=1,
            trained_at="1024 x 1024",
            files=(FILM_TINY_STRUCTURE, FILM_TONE, FILM_BASE_RANGES),
            trained_on=FILMS_TRAINED_ON,
            licence="Apache-2.0",
            pictures=NIH,
            limits=FILM_LIMITS,
            not_for=NOT_FOR,
            recipe="score_films",
        ),
        Model(
            name="pediatric_denoise",
            task="takes away Poisson and Gaussian noise; leaves tones as they are",
            modality="frontal chest radiographs of children, 256 x 256 pixels",
            scale=1,
            trained_at="256 x 256",
            files=(PEDIATRIC_DENOISE, PEDIATRIC_DENOISE_RANGES),
            trained_on=f"609 films of {KERMANY}.",
            licence="Apache-2.0",
            pictures=KERMANY,
            limits=(
                "Noise alone was trained, drawn by a formula: 50 to 300 photons at white, then 5 to 25 gray levels. "
                "Noise of other sources, blur and compression were not scored.",
                "Lung markings and soft opacities below the noise are smoothed away: compare the pictures of the card.",
                "A film without noise gets a warning: it is not what the network was trained on.",
                "Not scored: adults, other parts of the body, other views, other sizes than 256 x 256 pixels.",
            ),
            not_for=NOT_FOR,
            recipe="score_denoising",
        ),
    )
}
"""Every released model by its name. Training data: NIH ChestX-ray14, Hannover and Kermany alone."""


def model(name: str) -> Model:
    """Return a released model.

    Raises:
        RecipeError: if there is none of that name.
    """
    if name not in MODELS:
        raise RecipeError(f"no released model is called {name!r}. Known: {', '.join(MODELS)}")
    return MODELS[name]


def tensors(file: File) -> dict[str, Tensor]:
    """Return the tensors of a file, after its bytes were checked.

    Raises:
        CheckpointError: if the file is damaged, or cannot be fetched.
    """
    from safetensors.torch import load

    data = _bytes(file)
    if (digest := hashlib.sha256(data).hexdigest()) != file.sha256:
        fix = "install restorekit-models again" if file.url is None else f"{file.url} holds another file"
        raise CheckpointError(f"{file.name}: SHA-256 must be {file.sha256}; got {digest}; {fix}")
    return load(data)


def verified(of: Model) -> Iterator[tuple[File, int]]:
    """Yield each file of a model with its number of bytes, after these were checked.

    Raises:
        CheckpointError: as of `tensors`.
    """
    for file in of.files:
        tensors(file)
        yield file, len(_bytes(file))


def _bytes(file: File) -> bytes:
    if file.url is None:
        return (files(PACKAGE) / "weights" / file.name).read_bytes()
    import pooch
    from requests import RequestException

    try:
        folder = os.environ.get("RESTOREKIT_CACHE") or pooch.os_cache("restorekit")
        path = pooch.retrieve(file.url, f"sha256:{file.sha256}", file.name, folder)
    except ValueError as error:  # of the hash
        raise CheckpointError(f"{file.name}: {file.url} holds another file: {error}") from error
    except (OSError, RequestException) as error:
        raise CheckpointError(f"{file.name}: cannot be fetched from {file.url}: {error}") from error
    return Path(path).read_bytes()
