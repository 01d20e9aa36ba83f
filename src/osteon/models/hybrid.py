"""A classifier that also says where: any network of the registry with a small head that draws a map."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import SettingsError
from osteon.models.explain_grid import Grid, cell_grids
from osteon.models.factory import create
from osteon.models.network import Network
from osteon.models.weights import load_tensors

Head = Literal["pooled", "map", "both"]
PRIOR = 0.01
SHARPNESS = 4.0
T = TypeVar("T")

_SEEN: dict[tuple[object, ...], Any] = {}
"""What was seen of trunks, by how it was looked at and how they are made."""


class LocalisingNetwork(Network):
    """A network that also draws a map of where it sees what its logit is about."""

    @property
    @abstractmethod
    def map_is_classified(self) -> bool:
        """Whether the logit depends on the map, so that labels alone teach it something."""

    @abstractmethod
    def map_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that nothing but the map depends on."""

    @abstractmethod
    def localise(self, features: Tensor) -> Tensor:
        """Turn feature maps (N, C, h, w) into logits (N, 1, H, W) of every cell's showing the positive class."""

    def read(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (N,), embeddings (N, D) and the map's logits (N, 1, H, W) of standardised images."""
        features = self.features(images)
        return self.classify(features), self.embedding(features), self.localise(features)


class Hybrid(LocalisingNetwork):
    """A trunk (any registered network) with two heads: its own classification head, and one that draws a map.

    The map's head is three convolutions: 1×1 to ``hidden`` channels, 3×3, and 1×1 to ``detail``² channels, which are
    then laid out as ``detail`` × ``detail`` cells of one (sub-pixel convolution, Shi et al. 2016, arXiv:1609.05158), so
    that each place of the trunk's map says, as YOLO's cells do, where within itself something lies. Its bias starts at
    the logit of 0.01, as rare objects want it (Lin et al. 2017, arXiv:1708.02002). Since the trunk's places need not
    tile the image evenly (unpadded pools leave its rim out), the cells are interpolated to such as do.

    The trunk is made first and drops out first, so with ``head="pooled"`` and no loss on the map this is, number by
    number, the trunk alone.

    With ``finer`` the map's head also sees the trunk's maps before its last stride, which are twice as fine: the last
    ones, reduced and enlarged, are added to them as in a feature pyramid (Lin et al. 2017, arXiv:1612.03144). A break
    that is a few pixels long is then learnt where it can still be seen. :meth:`features` gives both in one tensor: the
    last maps, then the finer ones, each 2 × 2 of whose places are four channels of one.

    Args:
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant.
        trunk: Name of a registered network.
        trunk_options: Its options.
        head: What makes the image's logit: ``"pooled"`` is the trunk's own head; ``"map"`` pools the map by a smooth
            maximum (log-mean-exp, Pinheiro & Collobert 2015, arXiv:1411.6228) with learnt scale and shift; ``"both"``
            is their sum.
        hidden: Channels within the map's head.
        detail: Cells of the map along each side of a place of the trunk's last feature map.
        finer: Whether the map's head sees the maps before the trunk's last stride too; ``detail`` is then even.

    Raises:
        SettingsError: The trunk or an option is unknown or not possible.
    """

    reasons: ClassVar[dict[str, str]] = {
        "head": "pooled changes nothing of the classifier but what its trunk learns",
        "hidden": "enough to tell a break, few enough to leave the trunk's cost as it is",
        "detail": "a break is smaller than a place of the last feature map",
        "finer": "what is smaller than a place is better seen before it becomes one; not every trunk can show it",
    }

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 256,
        *,
        trunk: str = "paper_cnn",
        trunk_options: dict[str, Any] | None = None,
        head: Head = "pooled",
        hidden: PositiveInt = 64,
        detail: Annotated[int, Field(ge=1, le=16)] = 4,
        finer: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = _trunk(trunk, trunk_options or {}, in_channels, input_size)
        self.in_channels = in_channels
        self.input_size = input_size
        self.mean, self.sd = self.trunk.mean, self.trunk.sd
        self.head = head
        self.finer = finer
        if finer and detail % 2:
            raise SettingsError("with finer maps an even number of cells is needed", where="model.options.detail")
        made = f"{trunk} {trunk_options} {in_channels} {input_size}"
        self.channels, grids = _once(_last_map, self.trunk, made)
        self.mapper = MapHead(self.channels, hidden, detail, _once(_finer_channels, self.trunk, made) if finer else 0)
        self.straighten = Straighten(*(evened(grid, detail, input_size) for grid in grids))
        self.pool = None if head == "pooled" else SmoothMaximum()

    @property
    def map_is_classified(self) -> bool:
        """Whether the logit depends on the map."""
        return self.pool is not None

    def map_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the map's head."""
        return list(self.mapper.parameters())

    def standardisation(self, settings: PreprocessSettings) -> PreprocessSettings:
        """Return the settings with the trunk's own mean and standard deviation where they name none."""
        return self.trunk.standardisation(settings)

    def stages(self) -> list[list[nn.Module]]:
        """Return the trunk's stages."""
        return self.trunk.stages()

    def class_weights(self) -> Tensor | None:
        """Return the trunk's, if its head alone makes the logit; finer maps weigh nothing in it."""
        weights = self.trunk.class_weights() if self.pool is None else None
        if weights is None or self.mapper.refine is None:
            return weights
        return torch.cat([weights, weights.new_zeros(4 * self.mapper.refine.in_channels)])

    def embedding(self, features: Tensor) -> Tensor:
        """Return the mean over each of the trunk's last feature maps (N, C); finer maps are left out."""
        return self.trunk.embedding(self._parts(features)[0])

    def load_default_weights(self) -> None:
        """Load the pretrained weights that the trunk comes with."""
        self.trunk.load_default_weights()
        self.mean, self.sd = self.trunk.mean, self.trunk.sd

    def load_backbone(self, state: Mapping[str, Tensor], *, where: str) -> None:
        """Load the trunk from weights of its own kind, e.g. of a run that trained it alone."""
        load_tensors(self.trunk, state, where=where)

    def features(self, images: Tensor) -> Tensor:
        """Return the trunk's last feature maps (N, C, h, w), with ``finer`` also those before its last stride."""
        if not self.finer:
            return self.trunk.features(images)
        fine, last = self.trunk.pyramid(images)
        return torch.cat([last, functional.pixel_unshuffle(fine, 2)], dim=1)

    def localise(self, features: Tensor) -> Tensor:
        """Turn feature maps (N, C, h, w) into the map's logits (N, 1, ``detail`` · h, ``detail`` · w)."""
        cells: Tensor = self.straighten(self.mapper(*self._parts(features)))
        return cells

    def classify(self, features: Tensor) -> Tensor:
        """Turn feature maps (N, C, h, w) into logits (N,)."""
        last, _ = self._parts(features)
        return self._logit(last, self.localise(features) if self.pool is not None else None)

    def read(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, embeddings and the map's logits without joining finer maps to the last ones in between."""
        fine, last = self.trunk.pyramid(images) if self.finer else (None, self.trunk.features(images))
        cells: Tensor = self.straighten(self.mapper(last, fine))
        return self._logit(last, cells), self.trunk.embedding(last), cells

    def _parts(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the last maps, and the finer ones if there are any."""
        if not self.finer:
            return features, None
        return features[:, : self.channels], functional.pixel_shuffle(features[:, self.channels :], 2)

    def _logit(self, last: Tensor, cells: Tensor | None) -> Tensor:
        if self.pool is None or cells is None:
            return self.trunk.classify(last)
        pooled: Tensor = self.pool(cells)
        return pooled if self.head == "map" else self.trunk.classify(last) + pooled


class MapHead(nn.Module):
    """Feature maps to the logits of a map that is ``detail`` times as fine.

    Args:
        channels: Of the last feature maps.
        hidden: Channels within.
        detail: Cells of the map along each side of a place of the last feature maps.
        finer: Channels of the maps twice as fine; 0: there are none.
    """

    def __init__(self, channels: int, hidden: int, detail: int, finer: int = 0) -> None:
        super().__init__()
        self.detail = detail // 2 if finer else detail
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.refine = nn.Conv2d(finer, hidden, 1, bias=False) if finer else None
        self.look = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.draw = nn.Conv2d(hidden, self.detail**2, 1)
        for layer in (self.reduce, self.look, *([self.refine] if self.refine else [])):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.draw.weight, std=0.01)
        for layer, bias in ((self.reduce, 0.0), (self.look, 0.0), (self.draw, _logit(PRIOR))):
            if layer.bias is not None:
                nn.init.constant_(layer.bias, bias)

    def forward(self, last: Tensor, fine: Tensor | None = None) -> Tensor:
        """Return (N, 1, ``detail`` · h, ``detail`` · w) for (N, C, h, w) and finer maps (N, B, 2h, 2w)."""
        joined: Tensor = self.reduce(last)
        if self.refine is not None:
            joined = self.refine(fine) + functional.interpolate(joined, scale_factor=2.0, mode="nearest")
        hidden = functional.relu(self.look(functional.relu(joined)))
        return functional.pixel_shuffle(self.draw(hidden), self.detail)


class Straighten(nn.Module):
    """Cells that lie where the trunk's strides and paddings put them to cells that tile the image evenly.

    Args:
        rows: Weights of linear interpolation (H, H).
        columns: Likewise (W, W).
    """

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        super().__init__()
        self.rows = nn.Buffer(rows, persistent=False)
        self.columns = nn.Buffer(columns, persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Return (N, 1, H, W) for (N, 1, H, W); maps of images of another size stay as they are."""
        if cells.shape[-2:] != (len(self.rows), len(self.columns)):
            return cells
        return self.rows @ cells @ self.columns.T


class SmoothMaximum(nn.Module):
    """A map's logits to one: ``scale`` · (log-mean-exp − the logit of the prior) + ``shift``.

    With ``k`` = 4 it is ``log(mean(exp(k x))) / k``, between the mean and the maximum.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, cells: Tensor) -> Tensor:
        """Return (N,) for (N, 1, H, W)."""
        flat = cells.flatten(1)
        high = (torch.logsumexp(SHARPNESS * flat, dim=1) - math.log(flat.shape[1])) / SHARPNESS
        return self.scale * (high - _logit(PRIOR)) + self.shift


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _trunk(name: str, options: dict[str, Any], in_channels: int, input_size: int) -> Network:
    model = ModelSettings(name=name, options=options)
    channels = PreprocessSettings.model_validate({"channels": in_channels})
    network = create(model, channels, StoreSettings(size=input_size))
    if isinstance(network, LocalisingNetwork):
        raise SettingsError(f"{name} draws a map itself", where="model.options.trunk", hint="Train it as model.name")
    return network


def _once(look: Callable[[Network], T], trunk: Network, made: str) -> T:
    """Return what is seen of a trunk; those made alike are looked at once, which for timm's takes half a second."""
    seen = (look, type(trunk), made)
    if seen not in _SEEN:
        _SEEN[seen] = look(trunk)
    found: T = _SEEN[seen]
    return found


def _last_map(trunk: Network) -> tuple[int, tuple[Grid, Grid]]:
    """Return how many feature maps a trunk makes and where their places lie, without computing anything."""
    ghost = copy.deepcopy(trunk).to("meta").eval()
    with torch.no_grad():
        images = torch.zeros(1, trunk.in_channels, trunk.input_size, trunk.input_size, device="meta")
        channels = ghost.features(images).shape[1]
    return channels, cell_grids(ghost, trunk.input_size, trunk.input_size)


def _finer_channels(trunk: Network) -> int:
    """Return how many maps a trunk has before its last stride, without computing anything.

    Raises:
        SettingsError: It shows none, or not twice as fine ones.
    """
    ghost = copy.deepcopy(trunk).to("meta").eval()
    with torch.no_grad():
        fine, last = ghost.pyramid(torch.zeros(1, trunk.in_channels, trunk.input_size, trunk.input_size, device="meta"))
    if fine.shape[2:] != (2 * last.shape[2], 2 * last.shape[3]):
        raise SettingsError(
            f"the trunk's finer maps are {tuple(fine.shape[2:])}, not twice its last ones, {tuple(last.shape[2:])}",
            where="model.options.finer",
            hint="store.size a multiple of 32",
        )
    return fine.shape[1]


def evened(grid: Grid, detail: int, size: int) -> Tensor:
    """Return the matrix that takes ``detail`` cells for each place of a grid to as many that tile ``size`` evenly."""
    cells = grid.cells * detail
    unit = size / cells
    first = grid.first - grid.step * (detail - 1) / (2 * detail)
    return torch.from_numpy(Grid(cells, first / unit, grid.step / detail / unit).weights(cells))
