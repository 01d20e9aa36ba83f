"""What an augmentation did to each image of a batch: a record that can be saved and replayed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor

from osteon.errors import InputError

Fill = Literal["zero", "nearest"]
_WHOLE_BATCH = ("size", "fill")
_DTYPES = {
    "horizontal_flip": torch.bool,
    "vertical_flip": torch.bool,
    "noise_seed": torch.int64,
    "erased": torch.int64,
}


@dataclass(frozen=True, eq=False, slots=True)
class AugmentParameters:
    """One change for each of N images, in CPU tensors (float64 unless said otherwise).

    Attributes:
        size: Height and width of the images in pixels.
        fill: Grey values from outside the image: ``"zero"`` or those of the ``"nearest"`` edge.
        rotation: (N,) degrees, counter-clockwise.
        scale: (N,) zoom factor; above 1 enlarges.
        shear: (N,) degrees, along the rows.
        shift: (N, 2) right and down, as fractions of the side.
        horizontal_flip: (N,) bool, left becomes right.
        vertical_flip: (N,) bool, top becomes bottom.
        gamma: (N,) exponent on grey values in 0-1.
        contrast: (N,) factor about the image's own mean.
        brightness: (N,) factor on grey values.
        noise: (N,) standard deviation of added Gaussian noise, on 0-255.
        noise_seed: (N,) int64, from which each image's noise is drawn again on replay.
        erased: (N, 4) int64 pixels left, top, right, bottom of the erased rectangle; all 0 for none.
        erased_grey: (N,) grey value of the erased rectangle, on 0-255.
    """

    size: int
    fill: Fill
    rotation: Tensor
    scale: Tensor
    shear: Tensor
    shift: Tensor
    horizontal_flip: Tensor
    vertical_flip: Tensor
    gamma: Tensor
    contrast: Tensor
    brightness: Tensor
    noise: Tensor
    noise_seed: Tensor
    erased: Tensor
    erased_grey: Tensor

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self._tensors()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"augmentation parameters of different lengths: {lengths}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rotation)

    def __getitem__(self, rows: slice | Sequence[int] | Tensor) -> AugmentParameters:
        """Return the parameters of some of the images."""
        index = rows if isinstance(rows, slice | Tensor) else torch.as_tensor(rows, dtype=torch.int64)
        return AugmentParameters(self.size, self.fill, **{name: values[index] for name, values in self._tensors()})

    @classmethod
    def identity(cls, images: int, size: int, *, fill: Fill = "zero") -> AugmentParameters:
        """Return parameters that change nothing."""
        zero, one = torch.zeros(images, dtype=torch.float64), torch.ones(images, dtype=torch.float64)
        no = torch.zeros(images, dtype=torch.bool)
        return cls(
            size=size,
            fill=fill,
            rotation=zero,
            scale=one,
            shear=zero,
            shift=torch.zeros(images, 2, dtype=torch.float64),
            horizontal_flip=no,
            vertical_flip=no,
            gamma=one,
            contrast=one,
            brightness=one,
            noise=zero,
            noise_seed=torch.zeros(images, dtype=torch.int64),
            erased=torch.zeros(images, 4, dtype=torch.int64),
            erased_grey=zero,
        )

    def matrices(self) -> Tensor:
        """Return (N, 2, 3) float64 matrices from output to input positions.

        Positions are those of :func:`torch.nn.functional.affine_grid` without aligned corners: x to the right and y
        downwards, -1 to 1 from edge to edge. The image is flipped, scaled, sheared, rotated and shifted, in this
        order, about its centre.
        """
        matrices = self.unflipped_matrices()
        signs = torch.stack([_sign(self.horizontal_flip), _sign(self.vertical_flip)], dim=1)
        return matrices * signs[:, :, None]

    def unflipped_matrices(self) -> Tensor:
        """Return the matrices of everything but the flips, which come first and can be done exactly."""
        angle = torch.deg2rad(self.rotation)
        cosine, sine = torch.cos(angle), torch.sin(angle)
        slant = torch.tan(torch.deg2rad(self.shear))
        first = torch.stack([cosine - slant * sine, -sine - slant * cosine], dim=1)
        second = torch.stack([sine, cosine], dim=1)
        linear = torch.stack([first, second], dim=1) / self.scale[:, None, None]
        offset = linear @ (-2.0 * self.shift[:, :, None])
        return torch.cat([linear, offset], dim=2)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        values = {name: tensor.tolist() for name, tensor in self._tensors()}
        return {"size": self.size, "fill": self.fill, **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AugmentParameters:
        """Read what :meth:`to_dict` gave.

        Raises:
            InputError: A field is missing, unknown or of another length.
        """
        names = {item.name for item in fields(cls)}
        if names != values.keys():
            wrong = sorted(names.symmetric_difference(values))
            raise InputError(f"augmentation parameters: missing or unknown {', '.join(wrong)}")
        if values["fill"] not in ("zero", "nearest"):
            raise InputError(f"augmentation parameters: fill {values['fill']!r} is neither 'zero' nor 'nearest'")
        tensors = {
            name: torch.tensor(values[name], dtype=_DTYPES.get(name, torch.float64))
            for name in names.difference(_WHOLE_BATCH)
        }
        tensors["shift"], tensors["erased"] = tensors["shift"].reshape(-1, 2), tensors["erased"].reshape(-1, 4)
        return cls(size=int(values["size"]), fill=values["fill"], **tensors)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for item in fields(self):
            if item.name not in _WHOLE_BATCH:
                yield item.name, getattr(self, item.name)


def _sign(flipped: Tensor) -> Tensor:
    return 1.0 - 2.0 * flipped.to(torch.float64)
