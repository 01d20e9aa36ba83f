"""A network made ready to score batches of squares while its model file is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from osteon.config import RunSettings
from osteon.export.assemble import assemble
from osteon.export.network_graph import NetworkGraph
from osteon.machine import EXACT_SUMS, sums_of_8_bits_overflow
from osteon.statistics.recalibration import PlattScaling

BATCH = 16


def assembled(graph: NetworkGraph, settings: RunSettings, layout: str, scaling: PlattScaling) -> onnx.ModelProto:
    """Join a network with the preprocessing of its run and the calibration."""
    store = settings.store
    return assemble(graph, size=store.size, fit=store.fit, layout=layout, scaling=scaling)


class SquareScorer:
    """Runs a network on squares as its run's store holds them.

    Args:
        graph: The network.
        settings: Of its run.
    """

    def __init__(self, graph: NetworkGraph, settings: RunSettings) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if sums_of_8_bits_overflow():
            options.add_session_config_entry(*EXACT_SUMS)
        model = assembled(graph, settings, "squares", PlattScaling()).SerializeToString()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, squares: NDArray[np.uint8], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return outputs by name, each of all squares (n, size, size)."""
        starts = range(0, len(squares), BATCH)
        parts = [self._session.run(list(names), {"square": squares[at : at + BATCH]}) for at in starts]
        return {name: np.concatenate(part) for name, *part in zip(names, *parts, strict=True)}
