"""A trained network as an ONNX graph: squares of grey values to logit, embedding and map."""

from __future__ import annotations

import copy
import io
import warnings
from dataclasses import dataclass
from typing import Literal

import onnx
import torch
from torch import Tensor, nn

from osteon.export.preprocess_graph import OPSET
from osteon.models.explain_grid import Grid, cell_grids
from osteon.models.hybrid import LocalisingNetwork, Straighten
from osteon.models.network import Network
from osteon.training.network import TrainedNetwork

MapKind = Literal["learnt", "cam"]


@dataclass(frozen=True)
class NetworkGraph:
    """A network, exported.

    Attributes:
        model: From ``square`` (n, 1, size, size), float32 grey values of 0-255, to ``logit`` (n,), ``embedding``
            (n, d) and, where it has one, ``map`` (n, h, w).
        embedding: Length of the embedding.
        map: How the map comes about; None: there is none.
        cells: Rows and columns of the map.
    """

    model: onnx.ModelProto
    embedding: int
    map: MapKind | None
    cells: tuple[int, int] | None


def network_graph(trained: TrainedNetwork) -> NetworkGraph:
    """Export a trained network.

    The embedding is the mean over each of the last feature maps. The map is the network's own where it has learnt one
    from outlines; else, where the head is a mean and one linear layer, the exact class-activation map with the head's
    bias, each place's logit made a probability; else there is none.

    Args:
        trained: The network and how its input is prepared.
    """
    size = trained.settings.store.size
    outputs = Outputs(trained).eval()
    squares = torch.zeros(1, 1, size, size)
    with torch.inference_mode():
        values = outputs(squares)
    names = ["logit", "embedding", *(["map"] if outputs.map is not None else [])]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            outputs,
            (squares,),
            buffer,  # type: ignore[arg-type] # the exporter in use writes to it
            input_names=["grey"],
            output_names=names,
            dynamic_axes={name: {0: "n"} for name in ("grey", *names)},
            opset_version=OPSET,
            dynamo=False,
        )
    cells = None if outputs.map is None else (int(values[2].shape[1]), int(values[2].shape[2]))
    return NetworkGraph(onnx.load_from_string(buffer.getvalue()), int(values[1].shape[1]), outputs.map, cells)


class Outputs(nn.Module):
    """A network that takes grey values and gives all that a model file does, but for the calibrated probability."""

    def __init__(self, trained: TrainedNetwork) -> None:
        super().__init__()
        self.network: Network = copy.deepcopy(trained.network).to(memory_format=torch.contiguous_format)
        _drop_idle(self.network)
        preprocess = trained.preprocess
        assert preprocess.mean is not None
        assert preprocess.sd is not None
        self.mean, self.sd, self.channels = preprocess.mean, preprocess.sd, preprocess.channels
        self.map: MapKind | None = None
        if isinstance(self.network, LocalisingNetwork) and trained.localises:
            self.map = "learnt"
        elif self.network.class_weights() is not None:
            self.map = "cam"
            size = trained.settings.store.size
            self.straighten = Straighten(*(_evened(grid, size) for grid in cell_grids(self.network, size, size)))
            _drop_idle(self)

    def forward(self, grey: Tensor) -> tuple[Tensor, ...]:
        """Return logit (n,), embedding (n, d) and the map (n, h, w), if any, of grey values (n, 1, size, size)."""
        images = ((grey - self.mean) / self.sd).expand(-1, self.channels, -1, -1)
        features = self.network.features(images)
        logit = self.network.classify(features)
        embedding = self.network.embedding(features)
        if self.map is None:
            return logit, embedding
        return logit, embedding, self._map(features, logit)

    def _map(self, features: Tensor, logit: Tensor) -> Tensor:
        if self.map == "learnt":
            assert isinstance(self.network, LocalisingNetwork)
            return torch.sigmoid(self.network.localise(features)).squeeze(1)
        weights = self.network.class_weights()
        assert weights is not None
        evidence = (features * weights[:, None, None]).sum(dim=1, keepdim=True)
        bias = logit[:, None, None, None] - evidence.mean(dim=(2, 3), keepdim=True)
        cells: Tensor = self.straighten(evidence + bias)
        return torch.sigmoid(cells).squeeze(1)


def _drop_idle(network: nn.Module) -> None:
    """Take out steps that change nothing here: of cells that already tile the image evenly."""
    for name, layer in network.named_children():
        if isinstance(layer, Straighten) and all(
            torch.equal(matrix, torch.eye(len(matrix))) for matrix in (layer.rows, layer.columns)
        ):
            setattr(network, name, nn.Identity())


def _evened(grid: Grid, size: int) -> Tensor:
    """Return the matrix that takes a feature map's places to as many that tile the image evenly."""
    unit = size / grid.cells
    return torch.from_numpy(Grid(grid.cells, grid.first / unit, grid.step / unit).weights(grid.cells))
