"""AdaBoost of shallow networks: each learner is trained on the images weighted by what those before it got wrong."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt

from osteon.config import MethodSettings, ModelSettings, RunSettings
from osteon.errors import InputError, SettingsError
from osteon.models.cost import measure
from osteon.models.network import Network
from osteon.models.weights import load_file
from osteon.progress import track
from osteon.run import RunFolder, read_json, write_json
from osteon.training import samme
from osteon.training.batches import Sample, derive_seed
from osteon.training.boosting_record import Curves, write_record
from osteon.training.fit import MACHINE, check_fit, fit, load_weights
from osteon.training.learners import Learner, LearnerFolder
from osteon.training.method import Job, Method
from osteon.training.network import make_network
from osteon.training.predict import predict_logits
from osteon.training.same_data import refuse_other_training
from osteon.training.trainer import check_machine

ABOUT = "boosting.json"
SEEDS = 2**31


class AdaBoostMethod(Method):
    """SAMME for two classes (Zhu et al. 2009) over dense or convolutional networks.

    A learner is one network, trained for ``epochs`` with each image's loss weighted, and kept as the last epoch left
    it. A learner whose weighted error on the training images is not below 1/2 is dropped and drawn again from another
    seed, ``retries`` times; then boosting stops, as it does after a learner without any error. The first weights are
    those of ``training.class_weights``. How many of the learners vote is chosen by the AUC on validation images.
    Optimiser, schedule, batch size, augmentation and precision are the run's ``training`` and ``augment`` settings;
    ``model``, ``training.epochs``, ``select``, ``early_stopping``, ``keep_initial`` and freezing are not used. One
    device trains.

    Args:
        algorithm: ``"samme"``, the only one: SAMME.R is known to fail with learners as sure of themselves as networks.
        learner: ``"conv"`` (``shallow_cnn``) or ``"dense"`` (``dense_net``).
        rounds: Most learners.
        epochs: Passes over the training images for each learner.
        hidden_layers: Of each learner.
        width: Channels of a convolutional learner's first stage, or units of a dense one's layers; None: 16 and 128.
        side: Height and width that a dense learner shrinks images to.
        stages: Stages of a convolutional learner.
        batch_norm: Whether learners have batch norm.
        dropout: Before each learner's last layer.
        learning_rate: None: that of ``training``.
        vote: What a learner says in the vote: ``"probability"``, its expected class, so that scores are fine, or
            ``"class"``, as published. Weights of images and learners come from classes in either case.
        retries: How often a learner no better than chance is drawn again.
    """

    def __init__(
        self,
        *,
        algorithm: Literal["samme"] = "samme",
        learner: Literal["dense", "conv"] = "conv",
        rounds: PositiveInt = 10,
        epochs: PositiveInt = 5,
        hidden_layers: PositiveInt = 10,
        width: PositiveInt | None = None,
        side: PositiveInt = 32,
        stages: PositiveInt = 4,
        batch_norm: bool = True,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        learning_rate: PositiveFloat | None = None,
        vote: samme.Vote = "probability",
        retries: Annotated[int, Field(ge=0)] = 2,
    ) -> None:
        self.algorithm = algorithm
        self.rounds = rounds
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.vote: samme.Vote = vote
        self.retries = retries
        shared = {"hidden_layers": hidden_layers, "batch_norm": batch_norm, "dropout": dropout}
        if learner == "conv":
            options = {**shared, "stages": stages, "width": width or 16}
            self.model = ModelSettings(name="shallow_cnn", options=options, weights="none")
        else:
            options = {**shared, "side": side, "width": width or 128}
            self.model = ModelSettings(name="dense_net", options=options, weights="none")

    def check(self, settings: RunSettings) -> None:
        """See that the machine can train so, and make one learner."""
        learner = self.learner_settings(settings, settings.seed)
        check_machine(learner.training)
        check_fit(make_network(learner), learner)

    def learner_settings(self, settings: RunSettings, seed: int) -> RunSettings:
        """Return the settings that one learner is trained with."""
        changed: dict[str, Any] = {
            "epochs": self.epochs,
            "learning_rate": self.learning_rate or settings.training.learning_rate,
            "select": "last",
            "early_stopping": None,
            "freeze": 0,
            "unfreeze_epoch": None,
            "layer_decay": 1.0,
            "keep_initial": 0.0,
            "devices": 1,
            "strategy": "auto",
            "loggers": (),
        }
        training = settings.training.model_copy(update=changed)
        return settings.model_copy(update={"seed": seed, "model": self.model, "training": training})

    def fit(self, job: Job) -> dict[str, Any]:
        """Train learner after learner, each in ``learners/NN``; those that are finished are not trained again.

        Raises:
            SettingsError: Not even the first learner is better than chance, or learners are there that were trained by
                other settings.
        """
        self._keep_settings(job)
        train, valid = (job.prepared.sample(split, job.settings) for split in ("train", "valid"))
        learners, stopped = self._boost(job, train, valid)
        if not learners:
            raise SettingsError(
                f"no learner does better than chance on its training images ({self.retries + 1} tried)",
                where="method.options",
                hint="More epochs, another learning rate, or training.class_weights=balanced",
            )
        curves = Curves.of(learners, train.labels, valid.labels, self.vote)
        used = curves.rounds_used()
        members = [{"folder": learner.name, "alpha": learner.alpha} for learner in learners[:used]]
        write_json(job.folder.path / ABOUT, {"algorithm": self.algorithm, "vote": self.vote, "learners": members})
        best = curves.table["valid_auc"].iloc[used - 1]
        return {
            "rounds": len(learners),
            "rounds_used": used,
            "stopped": stopped,
            "best_value": None if np.isnan(best) else float(best),
            "select": "auc",
            "epochs": self.epochs * len(learners),
            "training_seconds": float(curves.table["seconds"].sum()),
        }

    def load(self, folder: RunFolder, settings: RunSettings) -> BoostedNetworks:
        """Return the learners that vote.

        Raises:
            InputError: The run has not finished learning, or a learner's file is missing or cannot be read.
        """
        path = folder.path / ABOUT
        if not path.is_file():
            raise InputError(
                "the run has not finished learning", where=path, hint=f"osteon train --resume {folder.path}"
            )
        about = read_json(path)
        learnt = self.learner_settings(settings, settings.seed)
        networks, alphas = [], []
        for member in about["learners"]:
            network = make_network(learnt, initial=False)
            load_file(network, LearnerFolder(folder, member["folder"]).weights)
            networks.append(network.eval().to(memory_format=torch.channels_last))
            alphas.append(float(member["alpha"]))
        return BoostedNetworks(networks, alphas, about["vote"], settings)

    def _keep_settings(self, job: Job) -> None:
        """Keep what learners are trained by, or refuse to train further ones by something else.

        Raises:
            SettingsError: Learners are finished, and were trained by other settings.
        """
        path = job.folder.path / "learners" / "settings.json"
        settings = self.learner_settings(job.settings, job.settings.seed)
        settings = settings.model_copy(update={"method": MethodSettings()})  # of its options these tell all that counts
        if path.is_file() and any(path.parent.glob("*/learner.json")):
            refuse_other_training(read_json(path), settings, path, MACHINE)
        else:
            write_json(path, settings.model_dump(mode="json"))

    def _boost(self, job: Job, train: Sample, valid: Sample) -> tuple[list[Learner], str]:
        """Return the learners, and why there are no more of them."""
        weights = samme.normalised(train.weights.astype(np.float64))
        learners: list[Learner] = []
        for number in track(range(1, self.rounds + 1), "Boosting"):
            learner = self._learn(job, number, weights, train, valid)
            if learner is None:
                return learners, f"round {number}: no learner better than chance"
            learners.append(learner)
            curves = Curves.of(learners, train.labels, valid.labels, self.vote)
            write_record(curves, job.folder)
            job.note(curves.describe())
            if learner.error == 0:
                return learners, f"round {number}: no training image is wrong"
            wrong = samme.missed(learner.train_logits, train.labels)
            weights = samme.reweighted(weights, wrong, learner.alpha)
        return learners, "all rounds done"

    def _learn(
        self, job: Job, number: int, weights: NDArray[np.float64], train: Sample, valid: Sample
    ) -> Learner | None:
        """Return one round's learner, or None if none is better than chance."""
        weighted = Sample(train.pixels, train.rows, train.labels, weights.astype(np.float32))
        for attempt in range(self.retries + 1):
            place = LearnerFolder(job.folder, f"{number:02d}" + (f"-retry{attempt}" if attempt else ""))
            if not place.is_finished():
                seed = derive_seed(job.settings.seed, number, attempt) % SEEDS
                self._train_learner(job, place, self.learner_settings(job.settings, seed), weighted, valid)
            learner = place.read(len(train), len(valid))
            error = samme.weighted_error(samme.missed(learner.train_logits, train.labels), weights)
            if error < samme.CHANCE:
                return learner.weighed(error, samme.learner_weight(error, len(train)))
            job.note(f"round {number}: weighted error {error:.3f} is no better than chance")
        return None

    def _train_learner(
        self, job: Job, place: LearnerFolder, settings: RunSettings, train: Sample, valid: Sample
    ) -> None:
        started = time.perf_counter()
        network = make_network(settings)
        resume = place.run.checkpoints.is_dir()
        result = fit(network, train, valid, settings, place.run, resume=resume, callbacks=job.callbacks)
        load_weights(network, result.checkpoint)
        preprocess = network.standardisation(settings.preprocess)
        logits = {
            name: predict_logits(network, sample.pixels, sample.rows, preprocess)
            for name, sample in (("train", train), ("valid", valid))
        }
        place.finish(network, logits, settings.seed, time.perf_counter() - started)


@dataclass(frozen=True)
class BoostedNetworks:
    """Learners that vote.

    Attributes:
        networks: The learners, in evaluation mode, channels last.
        alphas: Weight of each in the vote.
        vote: What each says in it.
        settings: Of the run.
    """

    networks: list[Network]
    alphas: list[float]
    vote: samme.Vote
    settings: RunSettings

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the probability of the positive class (n,) of stored images (n, size, size), uint8."""
        rows = np.arange(len(pixels))
        logits = [
            predict_logits(network, pixels, rows, network.standardisation(self.settings.preprocess))
            for network in self.networks
        ]
        return samme.probability(samme.margin(logits, self.alphas, self.vote))

    def cost(self) -> dict[str, int]:
        """Return what the learners cost one image together; they run one after another, so memory is the largest's."""
        size, channels = self.settings.store.size, self.settings.preprocess.channels
        costs = [measure(network, size, channels).as_dict() for network in self.networks]
        summed = ("parameters", "trainable_parameters", "multiply_adds")
        return {key: (sum if key in summed else max)(cost[key] for cost in costs) for key in costs[0]}
