"""Any classification network of timm as a feature extractor with a linear head."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import timm
import torch
from pydantic import Field, PositiveInt
from timm.layers.classifier import NormMlpClassifierHead
from timm.models.hiera import Hiera
from timm.models.hieradet_sam2 import HieraDet
from torch import Tensor, nn

from osteon.errors import SettingsError
from osteon.models.narrow import narrow
from osteon.models.stem import Normalisation
from osteon.models.transfer import Pooling, TransferNetwork

HEADS = ("classifier.", "fc.", "head.", "head_dist.", "AuxLogits.", "aux_logits.")
UNNORMED = (Hiera, HieraDet)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Backbone(TransferNetwork):
    """A network of timm without its classifier: feature maps, global pooling, dropout, one linear logit.

    Layers behind the last feature maps (VGG's dense layers, MobileNetV3's last 1×1 convolution) are left out, so that
    the logit is linear in the pooled maps. Transformers give the tokens of the patches as maps.

    Args:
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant.
        architecture: Name in timm, with or without the tag of its weights, e.g. ``resnet18`` or ``resnet18.a1_in1k``.
        pooling: Over each feature map; ``"average_max"`` is the mean of both.
        dropout: Probability of dropping a pooled feature in training.
        drop_path: Probability of skipping the last residual block in training, less for those before it (stochastic
            depth, Huang et al. 2016, arXiv:1603.09382).
        widths: Channels inside each inverted residual block, in order, as ``osteon slim`` finds them; None: as the
            network was designed. Its pretrained weights do not fit fewer.

    Raises:
        SettingsError: There is no such network, it has no blocks to skip, it gives no maps, or images of this size do
            not fit it.

    Source:
        Wightman 2019, PyTorch Image Models, doi:10.5281/zenodo.4414861.
    """

    reasons: ClassVar[dict[str, str]] = {
        **TransferNetwork.reasons,
        "drop_path": "off, as plain fine-tuning has it; 0.2 is what the EfficientNets were trained with",
        "widths": "fewer channels are faster; which can go is known only once the network has learnt",
    }

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 256,
        *,
        architecture: str,
        pooling: Pooling = "average",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        widths: list[PositiveInt] | None = None,
    ) -> None:
        seen = survey(architecture, input_size)
        body = make_body(architecture, input_size, drop_path=drop_path)
        for name in seen.unused:
            _remove(body, name)
        if widths is not None:
            narrow(body, widths)
        super().__init__(
            body,
            seen.channels,
            in_channels=in_channels,
            input_size=input_size,
            first=seen.first,
            normalisation=seen.normalisation,
            pooling=pooling,
            dropout=dropout,
        )
        self.architecture = architecture
        self.survey = seen

    def features(self, images: Tensor) -> Tensor:
        """Return the last feature maps.

        Args:
            images: (N, ``in_channels``, H, W), standardised by ``mean`` and ``sd``.

        Returns:
            (N, C, h, w).
        """
        return _maps(self.body, self.coloured(images), self.survey.tokens)

    def pyramid(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps before the last stride (N, B, 2h, 2w), and the last ones (N, C, h, w).

        Raises:
            SettingsError: The architecture does not show them.
        """
        body: Any = self.body
        level = _level_before_last(body)
        if self.survey.tokens or level is None or not hasattr(body, "forward_intermediates"):
            return super().pyramid(images)
        last, (fine,) = body.forward_intermediates(self.coloured(images), indices=[level])
        return fine, last

    def stages(self) -> list[list[nn.Module]]:
        """Return the stem and the stages, as timm's table of feature maps divides them; the last has all the rest."""
        found: list[list[nn.Module]] = [[]]
        for name, unit in _units(self.body, self.survey.boundaries):
            found[-1].append(unit)
            if name in self.survey.boundaries:
                found.append([])
        return _with_parameters(found)

    def load_default_weights(self) -> None:
        """Load ImageNet weights: of an installed package where there is one, else from timm's hub.

        Raises:
            SettingsError: They cannot be had, with the ways out.
        """
        from osteon.models.pretrained import default_state

        self.load_backbone(default_state(self.architecture, self.survey.options), where=f"timm/{self.architecture}")

    def is_left_out(self, name: str) -> bool:
        """Return whether a tensor belongs to the classifier or to another part that the maps do not pass."""
        return name.startswith(HEADS) or name in _original_names(self.architecture, self.input_size)


@dataclass(frozen=True)
class Survey:
    """What is known of an architecture without its weights.

    Attributes:
        channels: Of the last feature maps.
        tokens: Whether the maps have to be made from tokens or from channels-last maps.
        unused: Modules that the feature maps do not pass.
        boundaries: Modules after which a stage ends.
        first: The convolutions that see the image.
        normalisation: Of the images that the weights were trained on.
        options: With which timm makes it.
    """

    channels: int
    tokens: bool
    unused: tuple[str, ...]
    boundaries: tuple[str, ...]
    first: tuple[str, ...]
    normalisation: Normalisation
    options: dict[str, Any]


@lru_cache(maxsize=64)
def survey(architecture: str, size: int) -> Survey:
    """Look at an architecture on torch's meta device, where nothing is computed.

    Raises:
        SettingsError: There is no such network, it gives no maps or is recurrent, or images of this size do not fit it.
    """
    body: Any
    with torch.device("meta"):
        body = make_body(architecture, size).eval()
    if any(isinstance(layer, nn.RNNBase) for layer in body.modules()):
        raise SettingsError(f"{architecture} is recurrent, which is not supported", where="model.name")
    images = torch.empty(1, 3, size, size, device="meta")
    with torch.enable_grad():
        maps, tokens = _try(body, images, architecture)
        used = _used(body, maps)
    unused = _removable(body, images, tokens, tuple(_unused_modules(body, used)))
    return Survey(
        channels=maps.shape[1],
        tokens=tokens,
        unused=unused,
        boundaries=_boundaries(body, unused),
        first=_first(body.pretrained_cfg),
        normalisation=_normalisation(body.pretrained_cfg),
        options=_options(architecture, size),
    )


@lru_cache(maxsize=4)
def _original_names(architecture: str, size: int) -> frozenset[str]:
    """Return the names of all tensors of the network with its classifier."""
    with torch.device("meta"):
        return frozenset(make_body(architecture, size, classes=1000).state_dict())


def make_body(architecture: str, size: int, classes: int = 0, drop_path: float = 0.0) -> nn.Module:
    """Return timm's network with random weights.

    Raises:
        SettingsError: There is no such network, images of this size do not fit it, or it cannot skip blocks.
    """
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        guess = f"Did you mean {', '.join(f'timm/{name}' for name in close)}? " if close else ""
        raise SettingsError(
            f"timm has no network named {architecture!r}",
            where="model.name",
            hint=f"{guess}timm.list_models() names all {len(timm.list_models())}",
        )
    try:
        options = _options(architecture, size) | ({"drop_path_rate": drop_path} if drop_path else {})
        body: nn.Module = timm.create_model(architecture, num_classes=classes, **options)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise SettingsError(f"timm cannot make {architecture!r}: {error}", where="model.name") from error
    return body


def _options(architecture: str, size: int) -> dict[str, Any]:
    """Return what timm must be told; only networks of a fixed input size take one."""
    configuration = timm.get_pretrained_cfg(architecture)
    return {"img_size": size} if configuration is not None and configuration.fixed_input_size else {}


def _try(body: Any, images: Tensor, architecture: str) -> tuple[Tensor, bool]:
    """Return feature maps, and whether they had to be made from tokens."""
    try:
        maps = body.forward_features(images)
        if isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[1] == body.num_features:
            return _normed(body, maps), False
        if hasattr(body, "forward_intermediates"):
            return _maps(body, images, tokens=True), True
    except Exception as error:  # whatever timm's many networks raise at images that they cannot take
        raise SettingsError(
            f"{architecture} does not take images of {images.shape[-1]} pixels: {str(error).splitlines()[0]}",
            where="store.size",
            hint="Its own size is " + " × ".join(str(side) for side in body.pretrained_cfg["input_size"]),
        ) from error
    raise SettingsError(f"{architecture} gives no feature maps, so nothing could show where it looked")


def _level_before_last(body: Any) -> int | None:
    """Return which row of timm's table of feature maps is the last one twice as fine as its end."""
    reductions = [item["reduction"] for item in getattr(body, "feature_info", None) or []]
    finer = [row for row, value in enumerate(reductions) if 2 * value == reductions[-1]]
    return finer[-1] if finer else None


def _maps(body: Any, images: Tensor, tokens: bool) -> Tensor:
    if tokens:
        return _maps_of_tokens(body, images)
    return _normed(body, body.forward_features(images))


def _normed(body: Any, maps: Tensor) -> Tensor:
    """Return the last maps normalised, where the network's head does that before it pools them."""
    head = getattr(body, "head", None)
    return head.norm(maps) if isinstance(head, NormMlpClassifierHead) else maps


def _maps_of_tokens(body: Any, images: Tensor) -> Tensor:
    options = {"indices": 1, "output_fmt": "NCHW", "intermediates_only": True}
    norm = not isinstance(body, UNNORMED)
    last: Tensor = body.forward_intermediates(images, norm=norm, **options)[-1]
    return last


def _used(body: nn.Module, maps: Tensor) -> set[str]:
    """Return the names of the parameters that the maps depend on."""
    named = [(name, item) for name, item in body.named_parameters() if item.requires_grad]
    gradients = torch.autograd.grad(maps.sum(), [item for _, item in named], allow_unused=True)
    return {name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is not None}


def _unused_modules(module: nn.Module, used: set[str], prefix: str = "") -> Iterator[str]:
    """Yield the modules none of whose parameters is used, the outermost of each."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        own = [f"{path}.{item}" for item, _ in child.named_parameters()]
        if own and not used.intersection(own):
            yield path
        elif own:
            yield from _unused_modules(child, used, f"{path}.")


def _removable(body: nn.Module, images: Tensor, tokens: bool, unused: tuple[str, ...]) -> tuple[str, ...]:
    """Return the modules if a copy does without them; none if it passes through some although nothing comes of it."""
    if not unused:
        return ()
    spare = deepcopy(body)
    for name in unused:
        _remove(spare, name)
    try:
        _maps(spare, images, tokens)
    except Exception:  # as above
        return ()
    return unused


def _remove(body: nn.Module, name: str) -> None:
    parent, _, last = name.rpartition(".")
    setattr(body.get_submodule(parent), last, nn.Identity())


def _boundaries(body: nn.Module, unused: tuple[str, ...]) -> tuple[str, ...]:
    """Return the modules that end a stage; those of the top where timm's table does not name modules."""
    known = dict(body.named_modules())
    listed = [str(item["module"]) for item in getattr(body, "feature_info", None) or []]
    if listed and all(name in known for name in listed):
        return tuple(listed)
    return tuple(name for name, child in body.named_children() if _has_parameters(child) and name not in unused)


def _units(module: nn.Module, boundaries: tuple[str, ...], prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules in order, opened only where a boundary lies inside; an opened one's own parameters first."""
    loose = list(module.parameters(recurse=False))
    if loose:
        yield prefix, nn.ParameterList(loose)
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if any(boundary.startswith(f"{path}.") for boundary in boundaries):
            yield from _units(child, boundaries, f"{path}.")
        else:
            yield path, child


def _with_parameters(stages: list[list[nn.Module]]) -> list[list[nn.Module]]:
    """Join stages that have no parameters, and what follows the last boundary, to the stage before."""
    joined: list[list[nn.Module]] = []
    for number, stage in enumerate(stages):
        empty = not any(_has_parameters(unit) for unit in stage)
        if joined and (empty or number == len(stages) - 1):
            joined[-1].extend(stage)
        else:
            joined.append(stage)
    return joined


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _first(configuration: Mapping[str, Any]) -> tuple[str, ...]:
    named = configuration.get("first_conv") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _normalisation(configuration: Mapping[str, Any]) -> Normalisation:
    mean, sd = configuration.get("mean") or IMAGENET[0], configuration.get("std") or IMAGENET[1]
    return Normalisation((mean[0], mean[1], mean[2]), (sd[0], sd[1], sd[2]))
