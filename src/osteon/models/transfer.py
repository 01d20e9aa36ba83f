"""A network that others have designed and trained, under a linear head of our own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from osteon.models.network import Network
from osteon.models.stem import Normalisation, fold, fold_layer, foldable
from osteon.models.weights import Names, take

Pooling = Literal["average", "max", "average_max"]


class TransferNetwork(Network):
    """A body that gives feature maps, then global pooling, dropout and one linear logit.

    A grey image reaches the pretrained filters as they know it: with three channels each is normalised by its own mean
    and standard deviation, with one channel the filters are summed and the difference goes into a bias
    (:func:`osteon.models.stem.fold`).

    Args:
        body: The network without its classifier, for images of three channels.
        channels: Of its last feature maps.
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant.
        first: Names of the body's convolutions that see the image.
        normalisation: Of the images that the body was trained on.
        pooling: Over each feature map; ``"average_max"`` is the mean of both.
        dropout: Probability of dropping a pooled feature in training.
    """

    reasons: ClassVar[dict[str, str]] = {
        "pooling": "with the average, class-activation maps are exact; max follows one spot",
        "dropout": "what the lightweight networks of the EfficientNet family were trained with",
    }

    def __init__(
        self,
        body: nn.Module,
        channels: int,
        *,
        in_channels: int,
        input_size: int,
        first: tuple[str, ...],
        normalisation: Normalisation,
        pooling: Pooling,
        dropout: float,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.input_size = input_size
        self.pooling: Pooling = pooling
        self.normalisation = normalisation
        self.mean, self.sd = normalisation.grey_mean, normalisation.grey_sd
        self.body = body
        self.wanted = {name: item.to("meta") for name, item in body.state_dict().items()}
        self.folded = self._fold_stem(first)
        self._add_channels()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, 1)

    def _fold_stem(self, first: tuple[str, ...]) -> tuple[str, ...]:
        """Fold the first convolutions to one channel and return their names; none where that is not exact."""
        layers = [self.body.get_submodule(name) for name in first]
        if self.in_channels == 3 or not layers or not all(foldable(layer) for layer in layers):
            return ()
        for layer in layers:
            assert isinstance(layer, nn.Conv2d)
            fold_layer(layer, self.normalisation)
        return first

    def _add_channels(self) -> None:
        """Keep the scale and shift of each colour channel, where the input needs them."""
        needed = not self.folded and (self.in_channels == 1 or not self.normalisation.same)
        device = next(self.body.parameters()).device
        scale, shift = (item[:, None, None].to(device) if needed else None for item in self.normalisation.channels())
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def coloured(self, images: Tensor) -> Tensor:
        """Return standardised images (N, ``in_channels``, H, W) as the body's first layer wants them."""
        if isinstance(self.scale, Tensor) and isinstance(self.shift, Tensor):
            return images * self.scale + self.shift
        return images

    def classify(self, features: Tensor) -> Tensor:
        """Turn feature maps (N, C, h, w) into logits (N,)."""
        logits: Tensor = self.head(self.dropout(pool(features, self.pooling)))
        return logits.squeeze(1)

    def class_weights(self) -> Tensor | None:
        """Return the linear layer's weights (C,), None unless ``pooling`` is ``"average"``."""
        return self.head.weight[0] if self.pooling == "average" else None

    def load_backbone(self, state: Mapping[str, Tensor], *, where: str) -> None:
        """Load the weights of the original network, its classifier left out.

        Args:
            state: Tensors by the original's names.
            where: Where they are from, for messages.

        Raises:
            InputError: A tensor is missing or of another shape, or the file is of another network.
        """
        taken = take(state, Names(self.wanted, ignored=self.is_left_out), where=where)
        for name in self.folded:
            weight, bias = fold(taken[f"{name}.weight"], taken.get(f"{name}.bias"), self.normalisation)
            taken[f"{name}.weight"] = weight
            if bias is not None:
                taken[f"{name}.bias"] = bias
        self.body.load_state_dict(taken)

    @abstractmethod
    def is_left_out(self, name: str) -> bool:
        """Return whether a tensor of the original belongs to what the body lacks, its classifier for one."""


def pool(features: Tensor, pooling: Pooling) -> Tensor:
    """Pool feature maps (N, C, h, w) to features (N, C)."""
    if pooling == "average":
        return features.mean(dim=(2, 3))
    if pooling == "max":
        return features.amax(dim=(2, 3))
    return (features.mean(dim=(2, 3)) + features.amax(dim=(2, 3))) / 2
