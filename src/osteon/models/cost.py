"""What a network costs: parameters, multiply-adds and memory, found without computing anything."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

BATCH_NORMS = (torch.ops.aten.native_batch_norm.default, torch.ops.aten._native_batch_norm_legit_no_training.default)
IN_PLACE = (torch.ops.aten.hardtanh_.default, torch.ops.aten.hardswish_.default, torch.ops.aten.silu_.default)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one image costs in float32.

    Attributes:
        parameters: All parameters.
        trainable_parameters: Those that an optimiser changes.
        multiply_adds: Of convolutions and matrix products in one forward pass, by torch's own counter; bias, batch
            norm, activation and pooling, about 1 %, are not counted.
        activation_bytes: Kept from the forward for the backward pass, the input included; half of it or little more
            with bf16 autocast.
        inference_bytes: Peak of the activations alive at once when nothing is kept for a backward pass, the input
            included.
    """

    parameters: int
    trainable_parameters: int
    multiply_adds: int
    activation_bytes: int
    inference_bytes: int

    def as_dict(self) -> dict[str, int]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer in the order of computation.

    Attributes:
        name: Dotted name in the module.
        kind: Class of the layer.
        output: Shape for one image, without the batch.
        trainable_parameters: Of this layer.
        multiply_adds: As in :class:`Cost`.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    trainable_parameters: int
    multiply_adds: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def measure(model: nn.Module, size: int, channels: int) -> Cost:
    """Measure a network on one image, on torch's meta device: no arithmetic is done, the model is not touched.

    Args:
        model: From (N, ``channels``, ``size``, ``size``) to logits.
        size: Height and width in pixels.
        channels: Channels of the input.
    """
    model = _on_meta(model)
    multiply_adds, inference_bytes = _of_inference(model, size, channels)
    return Cost(
        parameters=sum(item.numel() for item in model.parameters()),
        trainable_parameters=_trainable(model),
        multiply_adds=multiply_adds,
        activation_bytes=_kept_for_backward(model, size, channels),
        inference_bytes=inference_bytes,
    )


def layers(model: nn.Module, size: int, channels: int) -> list[Layer]:
    """Return the layers (modules without children) that a forward pass goes through, in its order."""
    model = _on_meta(model).eval()
    rows: list[Layer] = []
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _recording(model, rows, counter), BatchNormByShape(), counter:
        model(_image(size, channels))
    return rows


@contextmanager
def _recording(model: nn.Module, rows: list[Layer], counter: FlopCounterMode) -> Iterator[None]:
    """Append each leaf module to ``rows`` as it is passed."""
    counted = 0

    def add(name: str, layer: nn.Module, output: Any) -> None:
        nonlocal counted
        flops, counted = counter.get_total_flops() - counted, counter.get_total_flops()
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        rows.append(Layer(name, type(layer).__name__, shape, _trainable(layer), flops // 2))

    leaves = [(name, layer) for name, layer in model.named_modules() if not any(layer.children())]
    handles = [
        layer.register_forward_hook(lambda module, _, output, name=name: add(name, module, output))
        for name, layer in leaves
        if not isinstance(layer, nn.Identity)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _kept_for_backward(model: nn.Module, size: int, channels: int) -> int:
    """Sum the storages that autograd saves in training, each once and without the model's own."""
    own = {item.untyped_storage()._cdata for item in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in own:
            kept[key] = tensor
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor), BatchNormByShape():
        result = model.train()(_image(size, channels, batch=2))
    total: int = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del result
    return total // 2


def _of_inference(model: nn.Module, size: int, channels: int) -> tuple[int, int]:
    """Return the multiply-adds of a forward pass, and the bytes of its activations at their peak."""
    image = _image(size, channels)
    counter, live = FlopCounterMode(display=False), _LiveBytes()  # type: ignore[no-untyped-call]  # torch's is not annotated
    with torch.no_grad(), BatchNormByShape(), counter, live:
        model.eval()(image)
    peak: int = live.peak + image.untyped_storage().nbytes()
    return counter.get_total_flops() // 2, peak


class BatchNormByShape(TorchDispatchMode):
    """Answers what costs most of a measurement's time on the meta device: batch norms, activations in their place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is not annotated

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return maps, means and deviations of the right shapes, the maps themselves, or run any other operation."""
        if function in IN_PLACE and args[0].is_meta:
            return args[0]
        if function not in BATCH_NORMS or kwargs:
            return function(*args, **(kwargs or {}))
        maps: Tensor = args[0]
        return torch.empty_like(maps), maps.new_empty(maps.shape[1]), maps.new_empty(maps.shape[1])


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is not annotated
    """Follows the storages that operations make until they are freed."""

    now: int = 0
    peak: int = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it allocated."""
        known = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in known:
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: Any) -> None:
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size


def _on_meta(model: nn.Module) -> nn.Module:
    if any(item.is_meta for item in model.parameters()):
        return model
    return copy.deepcopy(model).to("meta")


def _image(size: int, channels: int, batch: int = 1) -> Tensor:
    return torch.empty(batch, channels, size, size, device="meta")


def _trainable(module: nn.Module) -> int:
    return sum(item.numel() for item in module.parameters() if item.requires_grad)
