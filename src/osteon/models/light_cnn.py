"""A light network of the paper's kind, found by ``osteon study search`` on FracAtlas; ``docs/search.md`` says how."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, PositiveFloat

from osteon.models.paper_cnn import Initialisation, PaperCNN

WIDTHS = (24, 48, 96, 192, 384)
POOLS = (1, 2, 3, 4)


class LightCNN(PaperCNN):
    """Five convolutions with a max-pool between any two: a plain 5×5 with stride 4, then depthwise-separable 3×3.

    Its last map is one cell at 160 pixels and three by three at 256, too coarse to say where a break is. (The trial
    pooled average and maximum, which are the same in one cell, and had shortcuts where the width stays, as it nowhere
    does here.)

    Args:
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant; 124 at least.
        dropout: Probability of dropping a pooled feature in training.
        momentum: As in :class:`PaperCNN`.
        epsilon: As in :class:`PaperCNN`.
        initialisation: As in :class:`PaperCNN`.

    Raises:
        SettingsError: The input is too small for the pools.

    Source:
        A search of 25 trials on FracAtlas's validation images, chosen for cost and validation AUC.
    """

    reasons: ClassVar[dict[str, str]] = {
        "dropout": "found by the search, rounded from 0.369",
        "momentum": PaperCNN.reasons["momentum"],
        "epsilon": PaperCNN.reasons["epsilon"],
        "initialisation": PaperCNN.reasons["initialisation"],
    }

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 160,
        *,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.37,
        momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
        epsilon: PositiveFloat = 1e-3,
        initialisation: Initialisation = "glorot",
    ) -> None:
        super().__init__(
            in_channels,
            input_size,
            pools=POOLS,
            stem_stride=4,
            widths=WIDTHS,
            dropout=dropout,
            momentum=momentum,
            epsilon=epsilon,
            initialisation=initialisation,
            stem_kernel=5,
            separable=True,
        )
