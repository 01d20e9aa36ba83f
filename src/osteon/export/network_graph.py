"""A trained network as an ONNX graph: squares of grey values to logit, embedding and map."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from dataclasses import dataclass
from typing import Literal

import onnx
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from osteon.export.graph_rules import OPSET
from osteon.models.explain_grid import cell_grids
from osteon.models.hybrid import LocalisingNetwork, Straighten, evened
from osteon.models.network import Network
from osteon.models.stem import Normalisation, fold_layer, foldable
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
        _settle_padding(self.network)
        preprocess = trained.preprocess
        assert preprocess.mean is not None
        assert preprocess.sd is not None
        self.mean, self.sd = preprocess.mean, preprocess.sd
        _read_grey_once(self.network)
        self.map: MapKind | None = None
        if isinstance(self.network, LocalisingNetwork) and trained.localises:
            self.map = "learnt"
        elif self.network.class_weights() is not None:
            self.map = "cam"
            size = trained.settings.store.size
            self.straighten = Straighten(*(evened(grid, 1, size) for grid in cell_grids(self.network, size, size)))
            _drop_idle(self)

    def forward(self, grey: Tensor) -> tuple[Tensor, ...]:
        """Return logit (n,), embedding (n, d) and the map (n, h, w), if any, of grey values (n, 1, size, size)."""
        images = (grey - self.mean) / self.sd
        if self.network.in_channels > 1:
            images = images.expand(-1, self.network.in_channels, -1, -1)
        if self.map == "learnt":
            assert isinstance(self.network, LocalisingNetwork)
            logit, embedding, cells = self.network.read(images)
            return logit, embedding, torch.sigmoid(cells).squeeze(1)
        features = self.network.features(images)
        logit = self.network.classify(features)
        embedding = self.network.embedding(features)
        if self.map is None:
            return logit, embedding
        return logit, embedding, self._class_activation(features, logit)

    def _class_activation(self, features: Tensor, logit: Tensor) -> Tensor:
        weights = self.network.class_weights()
        assert weights is not None
        evidence = (features * weights[:, None, None]).sum(dim=1, keepdim=True)
        bias = logit[:, None, None, None] - evidence.mean(dim=(2, 3), keepdim=True)
        cells: Tensor = self.straighten(evidence + bias)
        return torch.sigmoid(cells).squeeze(1)


def _settle_padding(network: Network) -> None:
    """Let convolutions that pad by the size of what they see (TensorFlow's) pad by what it is here.

    A runtime can then join the padding to the convolution; a network answers about a sixth faster.
    """
    seen: dict[str, tuple[int, int]] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0].shape[2:]}))
        for name, layer in network.named_modules()
        if isinstance(layer, Conv2dSame)
    ]
    with torch.inference_mode():
        network.features(torch.zeros(1, network.in_channels, network.input_size, network.input_size))
    for hook in hooks:
        hook.remove()
    for name, sides in seen.items():
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, _settled(network.get_submodule(name), sides))


_ALIKE = Normalisation(mean=(0.5, 0.5, 0.5), sd=(0.5, 0.5, 0.5))
"""Of channels that are copies of one another."""


def _read_grey_once(network: Network) -> None:
    """Let the first convolution read the grey channel itself, of which the network was given copies.

    Its filters are summed over the channels: the same answers up to rounding, for a third of its work. What is not read
    by one plain convolution stays as it is.
    """
    side, channels = network.input_size, network.in_channels
    grey = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    copies = grey.expand(1, channels, side, side)
    readers: list[nn.Conv2d] = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, _: readers.append(layer))
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    with torch.inference_mode():
        before = network.features(copies)
    for hook in hooks:
        hook.remove()
    if not readers or not foldable(readers[0]) or readers[0].in_channels != channels:
        return
    first = readers[0]
    filters = first.weight
    fold_layer(first, _ALIKE)
    network.in_channels = 1
    with torch.inference_mode(), contextlib.suppress(RuntimeError):
        if (network.features(grey) - before).abs().max() <= 1e-4 * before.abs().max():
            return
    first.weight, first.in_channels, network.in_channels = filters, channels, channels


def _settled(layer: nn.Module, sides: tuple[int, int]) -> nn.Module:
    assert isinstance(layer, Conv2dSame)
    around = []
    for axis in (1, 0):
        kernel, stride, dilation = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
        total = max((-(-sides[axis] // stride) - 1) * stride + (kernel - 1) * dilation + 1 - sides[axis], 0)
        around += [total // 2, total - total // 2]
    plain = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        (layer.kernel_size[0], layer.kernel_size[1]),
        (layer.stride[0], layer.stride[1]),
        0,
        (layer.dilation[0], layer.dilation[1]),
        layer.groups,
        bias=layer.bias is not None,
    )
    plain.weight, plain.bias = layer.weight, layer.bias
    return nn.Sequential(nn.ZeroPad2d((around[0], around[1], around[2], around[3])), plain)


def _drop_idle(network: nn.Module) -> None:
    """Take out steps that change nothing here: of cells that already tile the image evenly."""
    for name, layer in network.named_children():
        if isinstance(layer, Straighten) and all(
            torch.equal(matrix, torch.eye(len(matrix))) for matrix in (layer.rows, layer.columns)
        ):
            setattr(network, name, nn.Identity())
