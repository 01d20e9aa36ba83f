"""The usual method: one network, trained by gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from osteon.config import RunSettings
from osteon.errors import SettingsError
from osteon.evaluation.lineage import initial_weights
from osteon.models.cost import measure
from osteon.models.factory import create, load_initial
from osteon.models.hybrid import LocalisingNetwork
from osteon.models.network import Network
from osteon.run import RunFolder, seed_numpy
from osteon.training.callbacks import Checkpoints, read_history
from osteon.training.distillation import check_targets, check_teachers, load_teachers
from osteon.training.fit import check_fit, check_unvalidated, fit, load_weights
from osteon.training.location import check_location, learns_map
from osteon.training.method import Job, Method, refuse_one_class
from osteon.training.predict import predict_logits, predict_maps
from osteon.training.prepare import Prepared
from osteon.training.start import measure_start
from osteon.training.trainer import check_machine, resolve_precision

NEED_BOTH_CLASSES = frozenset({"auc", "average_precision", "kappa"})


class NetworkMethod(Method):
    """Trains the network that ``model`` names; the epoch is chosen on validation images."""

    def check(self, settings: RunSettings) -> None:
        """See that the machine can train so, and the network learn what it is to; find the weights it starts from."""
        check_machine(settings.training)
        network = make_network(settings)
        check_fit(network, settings)
        check_location(network, settings)
        check_teachers(settings, made_of_file)

    def check_data(self, prepared: Prepared, settings: RunSettings) -> None:
        """Refuse data that it cannot learn from or choose the epoch on, and teachers of other data."""
        check_targets(settings, prepared.catalogue.target)
        _check_stopping(prepared, settings)
        if prepared.has("train") and not prepared.has("valid"):
            check_unvalidated(settings.training)
            refuse_one_class(prepared, settings)
        else:
            super().check_data(prepared, settings)

    def fit(self, job: Job) -> dict[str, Any]:
        """Fit the network; its initial weights depend on the seed and on ``model.weights`` alone."""
        network, sample = make_network(job.settings), job.prepared.sample("train", job.settings)
        measure_start(network, sample, job.settings)
        result = fit(
            network,
            sample,
            job.prepared.sample("valid", job.settings) if job.prepared.has("valid") else None,
            job.settings,
            job.folder,
            resume=job.resume,
            callbacks=job.callbacks,
            teachers=load_teachers(job.settings, load_network, made_of_file),
        )
        history = read_history(job.folder.history)
        return {
            "best_epoch": result.best_epoch,
            "best_value": None if np.isnan(result.best_value) else result.best_value,
            "select": job.settings.training.select,
            "precision": resolve_precision(job.settings.training),
            "epochs": len(history),
            "training_seconds": float(history["seconds"].sum()),
            "images_per_second": float(history["images_per_second"].median()),
        }

    def load(self, folder: RunFolder, settings: RunSettings) -> TrainedNetwork:
        """Return the network with the weights of the chosen epoch."""
        return load_network(folder, settings)


class TrainedNetwork:
    """A trained network and how its input is prepared.

    Attributes:
        network: In evaluation mode, channels last.
        settings: Of its run.
    """

    def __init__(self, network: Network, settings: RunSettings) -> None:
        self.network = network.eval().to(memory_format=torch.channels_last)
        self.settings = settings
        self.preprocess = network.standardisation(settings.preprocess)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the probability of the positive class (n,) of stored images (n, size, size), uint8."""
        logits = predict_logits(self.network, pixels, np.arange(len(pixels)), self.preprocess)
        return np.asarray(1 / (1 + np.exp(-logits)))

    @property
    def localises(self) -> bool:
        """Whether the network draws a map that it has learnt."""
        return learns_map(self.network, self.settings)

    def localise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return where the network sees what its target is, (n, h, w) in 0-1, cell by cell.

        The cells divide the square evenly: cell (i, j) of an (h, w) map is about rows ``i * size / h`` to
        ``(i + 1) * size / h``.

        Args:
            pixels: Images as the run's store holds them, uint8, shape ``(n, size, size)``.

        Raises:
            SettingsError: The network draws no map, or was not taught to.
        """
        if not isinstance(self.network, LocalisingNetwork) or not self.localises:
            raise SettingsError(
                "this run has learnt no map of its own",
                where=self.settings.model.name,
                hint="Train --model hybrid with training.mask_weight above 0; osteon explain works with any network",
            )
        return predict_maps(self.network, pixels, self.preprocess)

    def cost(self) -> dict[str, int]:
        """Return parameters, multiply-adds and memory of one image."""
        return measure(self.network, self.settings.store.size, self.preprocess.channels).as_dict()


def _check_stopping(prepared: Prepared, settings: RunSettings) -> None:
    """Refuse to stop by a figure that is undefined where only one class is validated on: it would stop at once.

    Raises:
        SettingsError: It is.
    """
    stopping = settings.training.early_stopping
    classes = prepared.catalogue.in_split("valid")["label"].nunique()
    if stopping and classes == 1 and stopping.metric in NEED_BOTH_CLASSES:
        raise SettingsError(
            f"the validation images are of one class, so there is no {stopping.metric} to stop by",
            where="training.early_stopping.metric",
            hint="training.early_stopping.metric=loss, or split.method=grouped",
        )


def make_network(settings: RunSettings, *, initial: bool = True) -> Network:
    """Make a run's network as it is before training.

    Args:
        settings: The run's settings; its seed draws the random weights.
        initial: Load the weights that ``model.weights`` names; False where others are loaded anyway.

    Raises:
        SettingsError: The model or an option is not possible, or the weights cannot be had.
    """
    seed_numpy(settings.seed)
    torch.manual_seed(settings.seed)
    network = create(settings.model, settings.preprocess, settings.store)
    if initial:
        load_initial(network, settings.model.model_copy(update={"weights": initial_weights(settings)}))
    return network


def made_of_file(settings: RunSettings) -> TrainedNetwork:
    """Return the network of the model file that ``model.weights`` names.

    Args:
        settings: As :func:`osteon.training.start.settled` returns them.

    Raises:
        InputError: The file's graph is of another network.
    """
    return TrainedNetwork(make_network(settings), settings)


def load_network(folder: RunFolder, settings: RunSettings | None = None) -> TrainedNetwork:
    """Return a run's network with the weights of the epoch that validation images chose.

    Raises:
        InputError: There is no such checkpoint, or it is of another network.
    """
    settings = settings or folder.settings()
    network = make_network(settings, initial=False)
    load_weights(network, Checkpoints(folder.checkpoints, settings.training.select).best)
    return TrainedNetwork(network, settings)
