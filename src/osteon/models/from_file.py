"""A torch network as a model file has it, so that it can be trained on.

The file's graph says what the network answers, not how it was trained: a batch norm is joined to the convolution before
it. Here it is taken apart again, such that answers in evaluation stay what they are: first with statistics of 0 and 1,
then, by :func:`measure_norms`, with those of images, so that in training, where batch norm goes by the batch, the
network starts from the same answers too.

All is accounted for: each tensor of the graph has its place, each of the network its value, and in the end both are
asked the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from osteon.errors import InputError
from osteon.models.file_network import FileNetwork, Layer, Numbers
from osteon.models.hybrid import LocalisingNetwork
from osteon.models.network import Network
from osteon.models.weights import COUNTER

PREFIX = "network."
CLOSE = 1e-3
"""How far the restored network's logit and map may be from the file's: rounding comes to a hundredth of it."""

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_KINDS: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    ("convolution", (nn.Conv2d,)),
    ("linear", (nn.Linear,)),
    ("norm", _NORMS),
)
_TOLD = 4


@dataclass(frozen=True)
class Call:
    """A layer as the network asked it.

    Attributes:
        name: Dotted name in the network.
        module: The layer.
        joined: The batch norm that sees what this convolution gives, if any.
    """

    name: str
    module: nn.Module
    joined: str | None = None


def restore(network: Network, file: FileNetwork) -> None:
    """Give a network the weights of a model file, in place; all of them or none.

    Batch norms that the file has joined to convolutions get statistics of 0 and 1; ``network.refolded`` names them.

    Args:
        network: Of the file's kind and size; in evaluation mode afterwards.
        file: The model file's network.

    Raises:
        InputError: The file's graph is of another network, or does not answer as this one would.
    """
    network.eval()
    calls, called = _calls(network, file)
    try:
        state = _State(network, file)
        state.layers(calls)
        state.rest(called)
    except _MismatchError as error:
        raise _other(file, str(error)) from None
    network.load_state_dict(state.found)
    network.refolded = tuple((call.name, call.joined) for call in calls if call.joined is not None)
    _compare(network, file)


def measure_norms(network: Network, batches: Iterable[Tensor]) -> None:
    """Give batch norms that a model file had joined to convolutions the statistics of images; answers stay as they are.

    Where a norm's scale is not learnt, its variance stays 1, and only its mean is measured.

    Args:
        network: As :func:`restore` left it.
        batches: Standardised images (n, channels, height, width), as training will show them.
    """
    seen = {name: _Moments() for name, _ in network.refolded}
    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: seen[name].add(output))
        for name in seen
    ]
    network.eval()
    with torch.inference_mode():
        for images in batches:
            network(images)
    for hook in hooks:
        hook.remove()
    for name, joined in network.refolded:
        if seen[name].count:
            _set_statistics(network.get_submodule(joined), *seen[name].mean_and_variance())


class _Moments:
    """Mean and variance of each channel over images and places."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, maps: Tensor) -> None:
        """Add maps (n, C, h, w)."""
        exact = maps.double()
        self.count += maps.numel() // maps.shape[1]
        self._sum = self._sum + exact.sum(dim=(0, 2, 3))
        self._squares = self._squares + exact.square().sum(dim=(0, 2, 3))

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Return both, (C,), float64."""
        mean = torch.as_tensor(self._sum) / self.count
        return mean, (torch.as_tensor(self._squares) / self.count - mean.square()).clamp(min=0)


@torch.no_grad()
def _set_statistics(norm: Any, mean: Tensor, variance: Tensor) -> None:
    """Change statistics, scale and shift of a norm such that it gives what it gave."""
    learnt = isinstance(norm.weight, nn.Parameter)
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    norm.bias += (mean - norm.running_mean.double()).mul(scale).to(norm.bias)
    norm.running_mean.copy_(mean)
    if learnt:
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.running_var.copy_(variance)


class _MismatchError(Exception):
    """The file's graph is not of this network."""


class _State:
    """The tensors of a network, found in a file one by one."""

    def __init__(self, network: Network, file: FileNetwork) -> None:
        self.network, self.file = network, file
        self.wanted = network.state_dict()
        self.found: dict[str, Tensor] = {}
        fixed = [value for name, value in network.named_buffers() if name not in self.wanted]
        self._fixed = [item for value in fixed for item in (value, value.mT if value.ndim > 1 else value)]

    def layers(self, calls: list[Call]) -> None:
        """Take the tensors of layers, kind by kind in the order of both."""
        joined = {call.joined for call in calls}
        for kind, types in _KINDS:
            mine = [call for call in calls if isinstance(call.module, types) and call.name not in joined]
            theirs = [layer for layer in self.file.layers if layer.kind == kind and not self._is_fixed(layer)]
            if len(mine) != len(theirs):
                raise _MismatchError(f"it has {len(theirs)} layers of the kind {kind}, the network {len(mine)}")
            for place, (call, layer) in enumerate(zip(mine, theirs, strict=True)):
                self._take(call, layer, first=place == 0)

    def rest(self, called: set[str]) -> None:
        """Take the tensors that are of no layer; those of modules that were not asked stay as they are."""
        others = self.file.others
        named = {name: value for name, value in others.items() if not self._is_known(value)}
        nameless = [name for name in named if name.removeprefix(PREFIX) not in self.wanted]
        for name, value in self.wanted.items():
            if name in self.found:
                continue
            given = named.pop(PREFIX + name, None)
            if given is not None:
                self._put(name, given)
            elif name.endswith(COUNTER) or self._is_idle(name, called):
                self.found[name] = value
            else:
                self._put(name, named.pop(self._reshaped(name, nameless)).reshape(value.shape))
        unused = [name for name in named if name.removeprefix(PREFIX) not in self.found]
        if unused:
            raise _MismatchError(f"of the network's layers none takes {', '.join(unused[:_TOLD])}")

    def _is_idle(self, name: str, called: set[str]) -> bool:
        owner = name.rpartition(".")[0]
        return owner not in called and next(self.network.get_submodule(owner).children(), None) is None

    def _reshaped(self, name: str, nameless: list[str]) -> str:
        """Take the first tensor out of those that lost their names, if it is this one but for sides of 1.

        The export shapes some beforehand, such as the scales of ConvNeXt's blocks; in the graph they keep their order.
        """
        shape = [side for side in self.wanted[name].shape if side != 1]
        if not nameless or [side for side in self.file.others[nameless[0]].shape if side != 1] != shape:
            raise _MismatchError(f"it has no {name}")
        return nameless.pop(0)

    def _is_fixed(self, layer: Layer) -> bool:
        return layer.kind == "linear" and self._is_known(layer.tensors["weight"])

    def _is_known(self, values: Numbers) -> bool:
        """Return whether a tensor is one that the network makes itself, e.g. where the map's cells lie."""
        same = (item for item in self._fixed if tuple(item.squeeze().shape) == values.squeeze().shape)
        return any(np.allclose(item.squeeze().numpy(), values.squeeze(), atol=1e-6) for item in same)

    def _take(self, call: Call, layer: Layer, *, first: bool) -> None:
        module: Any = call.module
        given = dict(layer.tensors)
        if layer.kind == "norm":
            given = {"weight": given["weight"], "bias": given["bias"]} | {
                f"running_{name}": given[short] for name, short in (("mean", "mean"), ("var", "variance"))
            }
        if layer.kind == "convolution":
            if (layer.stride, layer.dilation, layer.groups) != (module.stride, module.dilation, module.groups):
                raise _MismatchError(f"its {call.name} has other strides, dilations or groups")
            if first:
                given["weight"] = _spread(given["weight"], module.in_channels)
        bias = given.pop("bias", None)
        if call.joined is not None:
            self._unfold(call, bias, len(given["weight"]))
            bias = None if f"{call.name}.bias" not in self.wanted else np.zeros(len(given["weight"]), dtype=np.float32)
        for name, values in given.items():
            self._put_own(f"{call.name}.{name}", values)
        if bias is not None:
            self._put(f"{call.name}.bias", bias)

    def _unfold(self, call: Call, bias: Numbers | None, channels: int) -> None:
        """Make a norm of mean 0 and variance 1 that adds the bias."""
        norm: Any = self.network.get_submodule(str(call.joined))
        ones = np.ones(channels, dtype=np.float32)
        self._put_own(f"{call.joined}.weight", ones)
        self._put(f"{call.joined}.bias", 0 * ones if bias is None else bias)
        self._put(f"{call.joined}.running_mean", 0 * ones)
        self._put(f"{call.joined}.running_var", (1 - norm.eps) * ones)

    def _put_own(self, name: str, values: Numbers) -> None:
        """Keep a tensor that need not be in the network's state: a scale that is not learnt is 1."""
        if name in self.wanted:
            self._put(name, values)
        elif not (values == 1).all():
            raise _MismatchError(f"it has a {name}")

    def _put(self, name: str, values: Numbers) -> None:
        if name not in self.wanted:
            raise _MismatchError(f"it has a {name}")
        if tuple(self.wanted[name].shape) != values.shape:
            mine, theirs = ("×".join(map(str, shape)) or "1" for shape in (self.wanted[name].shape, values.shape))
            raise _MismatchError(f"its {name} is {theirs} instead of {mine}")
        self.found[name] = torch.from_numpy(np.ascontiguousarray(values))


def _spread(weight: Numbers, channels: int) -> Numbers:
    """Return filters of one channel for several that are copies of it."""
    if weight.shape[1] != 1 or channels == 1:
        return weight
    return np.repeat(weight / channels, channels, axis=1)


def _calls(network: Network, file: FileNetwork) -> tuple[list[Call], set[str]]:
    """Ask a network as the file's graph does; return the layers in order, and the names of all modules asked."""
    made: dict[int, str] = {}
    order: list[tuple[str, nn.Module]] = []
    kept: list[Any] = []  # so that no result takes another's place in memory
    called: set[str] = set()
    joined: dict[str, str] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        called.add(name)
        kept.append((inputs, output))
        if isinstance(module, nn.BatchNorm2d) and inputs and id(inputs[0]) in made:
            joined[made[id(inputs[0])]] = name
        if isinstance(module, nn.Conv2d):
            made[id(output)] = name
        if isinstance(module, (nn.Conv2d, nn.Linear, *_NORMS)):
            order.append((name, module))

    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: note(name, module, inputs, output))
        for name, module in network.named_modules()
    ]
    with torch.inference_mode():
        _ask(network, torch.zeros(1, network.in_channels, network.input_size, network.input_size), file.localises)
    for hook in hooks:
        hook.remove()
    return [Call(name, module, joined.get(name)) for name, module in order], called


def _ask(network: Network, images: Tensor, localises: bool) -> tuple[Tensor, Tensor | None]:
    """Return logits and, where the file has a learnt one, the map."""
    if localises and isinstance(network, LocalisingNetwork):
        logit, _, cells = network.read(images)
        return logit, torch.sigmoid(cells).squeeze(1)
    return network.classify(network.features(images)), None


def _compare(network: Network, file: FileNetwork) -> None:
    """Ask both the same.

    Raises:
        InputError: They do not answer alike.
    """
    squares = probes(file.size)
    images = (torch.from_numpy(squares).unsqueeze(1).float() - file.mean) / file.sd
    with torch.inference_mode():
        mine = _ask(network, images.expand(-1, network.in_channels, -1, -1), file.localises)
    answers = file.answers(squares)
    for name, values in zip(("logit", "map"), mine, strict=True):
        if values is None:
            continue
        differ = np.abs(values.numpy() - answers[name]) / np.maximum(1, np.abs(answers[name]))
        if not differ.max() <= CLOSE:  # NaN as well
            raise _other(file, f"its {name} differs by {differ.max():.2g} from what such a network gives")


def probes(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return two squares to compare networks on, (2, size, size): noise, and a ramp with noise."""
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size))
    ramp = np.linspace(0, 255, size)[:, None] + np.zeros(size)
    return np.stack([noise[0], (ramp + noise[1]) // 2]).astype(np.uint8)


def _other(file: FileNetwork, why: str) -> InputError:
    hint = "The settings under model.options must be the file's; leave them out to take its own"
    if file.options is None:
        hint = "It is of an earlier version and does not name the options of its network: give those that are not the "
        hint += "defaults as --set model.options.NAME=VALUE, or export the run again"
    return InputError(f"its graph is not that of {file.network} with these options: {why}", where=file.path, hint=hint)


def order_of(network: Network, file: FileNetwork, names: Iterable[str]) -> Iterator[int]:
    """Yield which of the network's convolutions, in the order in which it asks them, have these names."""
    asked = [call.name for call in _calls(network.eval(), file)[0] if isinstance(call.module, nn.Conv2d)]
    for name in names:
        yield asked.index(name)
