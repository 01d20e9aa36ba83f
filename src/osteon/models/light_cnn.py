"""Light networks of the paper's kind, found by ``osteon study search`` on FracAtlas; ``docs/search.md`` says how."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, PositiveFloat

from osteon.models.paper_cnn import Initialisation, PaperCNN

REASONS = {name: PaperCNN.reasons[name] for name in ("momentum", "epsilon", "initialisation")}
DropoutRate = Annotated[float, Field(ge=0, lt=1)]
Momentum = Annotated[float, Field(gt=0, le=1)]


class LightCNN(PaperCNN):
    """Eight convolutions: a 5×5 with stride 4, then 3×3; a max-pool after every second one but the last.

    At 160 pixels its last map has 4×4 cells; the mean of their average and their maximum is classified.

    Args:
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant; 57 at least.
        dropout: Probability of dropping a pooled feature in training.
        momentum: As in :class:`PaperCNN`.
        epsilon: As in :class:`PaperCNN`.
        initialisation: As in :class:`PaperCNN`.

    Raises:
        SettingsError: The input is too small for the pools.

    Source:
        A search of 25 trials on FracAtlas; of its best four the one with the highest validation AUC when trained for 12
        epochs with two seeds.
    """

    reasons: ClassVar[dict[str, str]] = {"dropout": "the search's, unrounded, so that its runs repeat", **REASONS}

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 160,
        *,
        dropout: DropoutRate = 0.47771565489499535,
        momentum: Momentum = 0.1,
        epsilon: PositiveFloat = 1e-3,
        initialisation: Initialisation = "glorot",
    ) -> None:
        super().__init__(
            in_channels,
            input_size,
            widths=(32, 32, 64, 64, 128, 128, 256, 256),
            pools=(2, 4, 6),
            stem_stride=4,
            stem_kernel=5,
            pooling="average_max",
            dropout=dropout,
            momentum=momentum,
            epsilon=epsilon,
            initialisation=initialisation,
        )


class TinyCNN(PaperCNN):
    """Five convolutions with a max-pool between any two: a plain 5×5 with stride 4, then depthwise-separable 3×3.

    Its last map is one cell at 160 pixels and three by three at 256, too coarse to say where a break is.

    Args:
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant; 121 at least.
        dropout: Probability of dropping a pooled feature in training.
        momentum: As in :class:`PaperCNN`.
        epsilon: As in :class:`PaperCNN`.
        initialisation: As in :class:`PaperCNN`.

    Raises:
        SettingsError: The input is too small for the pools.

    Source:
        The cheap end of the same search. The trial pooled average and maximum, which are the same in one cell.
    """

    reasons: ClassVar[dict[str, str]] = {"dropout": "the search's, rounded", **REASONS}

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 160,
        *,
        dropout: DropoutRate = 0.37,
        momentum: Momentum = 0.1,
        epsilon: PositiveFloat = 1e-3,
        initialisation: Initialisation = "glorot",
    ) -> None:
        super().__init__(
            in_channels,
            input_size,
            widths=(24, 48, 96, 192, 384),
            pools=(1, 2, 3, 4),
            stem_stride=4,
            stem_kernel=5,
            separable=True,
            dropout=dropout,
            momentum=momentum,
            epsilon=epsilon,
            initialisation=initialisation,
        )
