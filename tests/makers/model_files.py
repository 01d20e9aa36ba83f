"""Tiny model files with random weights, exported as a user's are."""

from __future__ import annotations

from pathlib import Path

import torch

from osteon.config import ModelSettings, RunSettings, StoreSettings, TrainingSettings
from osteon.export.assemble import assemble, write_model
from osteon.export.model_card import (
    Calibration,
    Conformal,
    ConformalQuantiles,
    DataFacts,
    Figure,
    InputRules,
    ModelCard,
    OperatingPoint,
    Outputs,
)
from osteon.export.network_graph import NetworkGraph, network_graph
from osteon.statistics.recalibration import PlattScaling
from osteon.training.network import TrainedNetwork, make_network

SIZE = 64
SMALL_CNN = {"widths": [8, 8, 16], "pools": [1, 2], "stem_stride": 1}
HYBRID = ModelSettings(
    name="hybrid", options={"trunk": "paper_cnn", "trunk_options": SMALL_CNN, "hidden": 8}, weights="none"
)


def tiny_network(model: ModelSettings = HYBRID, *, size: int = SIZE, seed: int = 0) -> TrainedNetwork:
    """Return a network with random weights that is taken to have learnt its map."""
    mask_weight = 1.0 if model.name == "hybrid" else 0.0
    settings = RunSettings(
        model=model,
        store=StoreSettings(size=size),
        training=TrainingSettings(mask_weight=mask_weight),
        seed=seed,
    )
    network = make_network(settings)
    torch.manual_seed(seed)
    return TrainedNetwork(network, settings)


def tiny_card(trained: TrainedNetwork, graph: NetworkGraph | None = None, **changes: object) -> ModelCard:
    """Return the record of a tiny model: uncertain between probabilities of 0.3 and 0.7.

    Args:
        trained: The model.
        graph: Its exported network, where that is known; else it is exported here, which takes a while.
        changes: Of the record.
    """
    graph = graph or network_graph(trained)
    quantiles = ConformalQuantiles(negatives=100, positives=100, negative=(0.8, 0.7, 0.6), positive=(0.8, 0.7, 0.6))
    figure = Figure(value=0.9, low=0.85, high=0.95, n=200)
    values: dict[str, object] = {
        "name": "tiny",
        "target": "fractured",
        "network": trained.settings.model.name,
        "input": InputRules(size=trained.settings.store.size, fit=trained.settings.store.fit),
        "outputs": Outputs(embedding=graph.embedding, map=graph.map, map_cells=graph.cells),
        "calibration": Calibration(temperature=1.5, fitted_on="validation", n=200),
        "operating_points": (
            OperatingPoint(
                name="youden",
                threshold=0.5,
                chosen_on="validation",
                measured={"validation": {"sensitivity": figure, "specificity": figure}},
            ),
            OperatingPoint(name="sensitive", threshold=0.2, chosen_on="validation"),
        ),
        "conformal": Conformal(
            error_rates=(0.05, 0.1, 0.2), default=0.1, quantiles={"all": quantiles}, fitted_on="validation"
        ),
        "data": DataFacts(name="made up", images=200, positives=100, regions={"hand": 150, "leg": 50}),
        "metrics": {"test": {"auc": figure, "sensitivity": figure, "specificity": figure}},
    }
    return ModelCard.model_validate(values | changes)


def write_tiny_model(
    path: Path, model: ModelSettings = HYBRID, *, layout: str = "image", size: int = SIZE, **changes: object
) -> ModelCard:
    """Write a tiny model file."""
    trained = tiny_network(model, size=size)
    graph = network_graph(trained)
    card = tiny_card(trained, graph, **changes)
    card = card.model_copy(update={"input": card.input.model_copy(update={"layout": layout})})
    of = card.graph_calibration
    scaling = PlattScaling(of.temperature, of.bias)
    whole = assemble(graph, size=size, fit=trained.settings.store.fit, layout=layout, scaling=scaling)
    return write_model(whole, card, path)
