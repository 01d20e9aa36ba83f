"""What every network here is: feature maps, then a head that turns them into one logit."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from osteon.config import PAPER_MEAN, PAPER_SD, PreprocessSettings
from osteon.errors import SettingsError


class Network(nn.Module):
    """A classifier in two halves, so that the head can work in full precision and maps can be explained.

    Attributes:
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant.
        mean: Grey value, on 0-255, that its weights expect to be subtracted; the paper's unless pretrained.
        sd: What they expect grey values to be divided by.
        refolded: Convolutions, each with the batch norm after it, that were one layer in the model file that the
            network's weights are from; their statistics are still to be measured.
    """

    in_channels: int
    input_size: int
    mean: float = PAPER_MEAN
    sd: float = PAPER_SD
    refolded: tuple[tuple[str, str], ...] = ()

    def standardisation(self, settings: PreprocessSettings) -> PreprocessSettings:
        """Return the settings with the network's own mean and standard deviation where they name none."""
        mean = self.mean if settings.mean is None else settings.mean
        sd = self.sd if settings.sd is None else settings.sd
        return settings.model_copy(update={"mean": mean, "sd": sd})

    def stages(self) -> list[list[nn.Module]]:
        """Return the parts of :meth:`features` from the input on, for freezing and layer-wise learning rates.

        What is in none of them (the head) always learns, at the full rate.
        """
        return []

    def first_stages(self, count: int) -> list[nn.Module]:
        """Return the modules of the first stages, e.g. those that are frozen."""
        return [unit for stage in self.stages()[:count] for unit in stage]

    def load_default_weights(self) -> None:
        """Load the pretrained weights that the network comes with; one without such keeps its random weights.

        Raises:
            SettingsError: They cannot be had, with the ways out.
        """

    def class_weights(self) -> Tensor | None:
        """Return the weights (C,) of the head if it is the mean over each map, then one linear layer; else None.

        Then, and only then, the weighted sum of the maps is an exact class-activation map: its mean and the layer's
        bias make the logit.
        """
        return None

    def pyramid(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return feature maps (N, B, 2h, 2w) as they are before the last stride, and the last ones (N, C, h, w).

        Raises:
            SettingsError: The network does not show them.
        """
        raise SettingsError("the trunk shows no finer maps than its last", where="model.options.finer")

    def embedding(self, features: Tensor) -> Tensor:
        """Return what stands for images as a whole, the mean over each feature map: (N, C) of (N, C, h, w)."""
        return features.mean(dim=(2, 3))

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return the last feature maps (N, C, h, w) of standardised images (N, ``in_channels``, H, W)."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Turn feature maps (N, C, h, w) into logits (N,) of the positive class."""

    def forward(self, images: Tensor) -> Tensor:
        """Turn standardised images (N, ``in_channels``, H, W) into logits (N,) of the positive class."""
        return self.classify(self.features(images))
