"""The network under Lightning: augmentation, loss, validation metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from scipy.special import expit
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from osteon.config import RunSettings
from osteon.errors import SettingsError
from osteon.models.network import Network
from osteon.statistics import metrics
from osteon.training.batches import Batch
from osteon.training.location import LocationRecord, localiser, move_masks, rest_map, seen_after
from osteon.training.losses import binary_cross_entropy
from osteon.training.mixing import cut_mix, draw_patches
from osteon.training.optimiser import Plateau, make_optimiser, make_schedule, rate_factor
from osteon.transforms.augment import Augment, standardise
from osteon.transforms.corruption import corrupt
from osteon.transforms.geometry import draw_turns, quarter_turned

SETTINGS = "settings"
"""Key of a checkpoint that holds the settings that its training goes by."""

OTHERS = "weights_of_others"
"""Key that holds the SHA-256 of the weights of other runs that its training goes by, by their folders."""

Teach = Callable[[torch.Tensor], torch.Tensor]


class Classifier(pl.LightningModule):
    """A network that learns to give the logit of the positive class.

    Args:
        network: What is trained.
        settings: The run's settings.
        steps_per_epoch: Number of batches an epoch, for the schedule.
        prior_shift: What the way of sampling adds to the log-odds of the positive class. It is added to the logits in
            training, so that the network's own keep to how common the class is (Menon et al. 2021, arXiv:2007.07314).
        teachers: Give the probabilities of augmented grey images (N, 1, S, S) on 0-255, shape (N,); the network learns
            to imitate them by the share ``training.teacher_weight`` of its loss.
        others: SHA-256 of the weights of other runs that it learns from, by their folders; kept with its own.
    """

    def __init__(
        self,
        network: Network,
        settings: RunSettings,
        steps_per_epoch: int,
        prior_shift: float = 0.0,
        teachers: Teach | None = None,
        others: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.preprocess = network.standardisation(settings.preprocess)
        self.steps_per_epoch = steps_per_epoch
        self.prior_shift = prior_shift
        self.teachers = teachers
        self.others = dict(others or {})
        self.augment = Augment(settings.augment)
        self.epoch_values: dict[str, float] = {}
        self._seen: dict[str, list[torch.Tensor]] = {}
        self._located = LocationRecord()
        rest_map(network, settings)
        self._started = 0.0
        self._rate = rate_factor(settings.training, steps_per_epoch)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, float32, shape ``(n,)``.

        The head works in float32 also where the features are of lower precision: a logit of 8 bits would tie scores
        that differ, and ties cost AUC.

        Args:
            images: Standardised, shape ``(n, channels, size, size)``.
        """
        return self._full_precision(self.network.classify, self._features(images))

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        if self.settings.training.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.network.features(images)

    def _full_precision(self, head: Callable[[torch.Tensor], torch.Tensor], features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return head(features.float())

    def _learn(self, split: str, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and the weighted loss on masks, 0 where none are given."""
        features = self._features(batch["images"])
        logits = self._full_precision(self.network.classify, features)
        if "masks" not in batch:
            return logits, logits.new_zeros(())
        cells = self._full_precision(localiser(self.network), features)
        loss = self._located.add(split, cells, batch["masks"], batch["mask_known"])
        return logits, self.settings.training.mask_weight * loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the settings with what they led to, and which weights of others did."""
        checkpoint[SETTINGS] = self.settings.model_dump(mode="json")
        checkpoint[OTHERS] = self.others

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the optimiser and its schedule by step."""
        settings = self.settings.training
        optimiser = make_optimiser(self.network, settings)
        schedule = make_schedule(optimiser, self._rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> dict[str, Any]:
        """Augment (in training) and standardise on the device, outside autocast."""
        changed = self._augmented(batch) if self.trainer.training else batch
        return {**changed, "images": standardise(changed["images"], self.preprocess)}

    def _augmented(self, batch: Batch) -> Batch:
        generator = torch.Generator().manual_seed(int(batch["seed"]))
        images = batch["images"]
        parameters = self.augment.sample(len(images), images.shape[-1], generator)
        changed: Batch = {**batch, "images": self.augment.apply(images, parameters)}
        if "masks" in batch:
            masks = batch["masks"]
            moved = move_masks(masks, parameters)
            labels, weights = seen_after(
                masks, moved, batch["mask_known"], parameters, batch["labels"], batch["weights"]
            )
            changed = {**changed, "masks": moved, "labels": labels, "weights": weights}
        if probability := self.settings.augment.cutmix:
            changed = cut_mix(changed, draw_patches(len(images), images.shape[-1], probability, generator))
        if self.teachers is not None:
            with self.trainer.precision_plugin.forward_context():
                changed["taught"] = self.teachers(changed["images"])
        if probability := self.settings.augment.corruptions:
            changed["images"] = corrupt(changed["images"], probability, generator)
        if probability := self.settings.augment.quarter_turns:
            turns = draw_turns(len(images), probability, generator)
            changed["images"] = quarter_turned(changed["images"], turns)
            if "masks" in changed:
                changed["masks"] = quarter_turned(changed["masks"], turns)
        return changed

    def on_train_epoch_start(self) -> None:
        """Start the epoch's clock and forget the batches of before."""
        self._seen = {"train": [], "valid": []}
        self._located.forget("train", "valid")
        self._started = time.perf_counter()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what draws from the global generator (dropout) by the batch, so that a resumed run draws the same."""
        seed_draws(int(batch["seed"]), self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of one batch."""
        logits, mask_loss = self._learn("train", batch)
        shifted = logits + self.prior_shift
        smoothing = self.settings.training.label_smoothing
        loss = binary_cross_entropy(shifted, batch["labels"], batch["weights"], smoothing)
        if "taught" in batch:
            imitation = functional.binary_cross_entropy_with_logits(logits, batch["taught"])
            loss = torch.lerp(loss, imitation, self.settings.training.teacher_weight)
        self._seen["train"].append(torch.stack([shifted.detach(), batch["labels"], batch["weights"]]).cpu())
        return loss + mask_loss if "masks" in batch else loss

    def on_validation_epoch_start(self) -> None:
        """Forget the validation batches of before."""
        self._trained_seconds = time.perf_counter() - self._started
        self._seen["valid"] = []
        self._located.forget("valid")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the logits of one batch."""
        logits, _ = self._learn("valid", batch)
        self._seen["valid"].append(torch.stack([logits, batch["labels"], batch["weights"]]).cpu())

    def on_validation_epoch_end(self) -> None:
        """Work out the epoch's figures over all processes and log them."""
        if not self.trainer.sanity_checking and self._seen.get("train"):
            self._close_epoch()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Work out the figures after an epoch's last batch where no validation follows."""
        if self.trainer.is_last_batch and not self.trainer.enable_validation:
            self._trained_seconds = time.perf_counter() - self._started
            self._close_epoch()

    def _close_epoch(self) -> None:
        train = self._gather("train")
        held_out = self._gather("valid") if self._seen["valid"] else None
        self._refuse_divergence(train, held_out)
        values = figures(train, "train", curves=False)
        if held_out is not None:
            values |= figures(held_out, "valid", curves=True)
        values |= self._located.figures(self._of_all)
        values["learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        values["seconds"] = self._trained_seconds
        values["images_per_second"] = train.shape[1] / self._trained_seconds
        self.epoch_values = values
        self.log_dict(values, sync_dist=False, rank_zero_only=False)

    def _refuse_divergence(self, *seen: np.ndarray[Any, np.dtype[np.float64]] | None) -> None:
        """Stop where nothing can be learnt any more.

        Raises:
            SettingsError: Logits or weights are infinite or no numbers.
        """
        finite = all(np.isfinite(item[0]).all() for item in seen if item is not None)
        if finite and all(bool(item.isfinite().all()) for item in self.network.parameters()):
            return
        raise SettingsError(
            f"the training diverged in epoch {self.trainer.current_epoch + 1}: the network answers no numbers any more",
            where="training.learning_rate",
            hint="A lower training.learning_rate, training.gradient_clip=1, or training.precision=fp32",
        )

    def on_train_epoch_end(self) -> None:
        """Let a schedule that follows the validation loss see it, before the state is kept and the next step taken."""
        if isinstance(self._rate, Plateau):
            self._rate.observe(self.epoch_values["valid_loss"])
            schedule = self.lr_schedulers()
            assert isinstance(schedule, LambdaLR)
            for group, rate in zip(schedule.optimizer.param_groups, schedule.base_lrs, strict=True):
                group["lr"] = rate * self._rate(schedule.last_epoch)

    def _gather(self, split: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return logits, labels and weights of all processes, shape ``(3, n)``."""
        return self._of_all(torch.cat(self._seen[split], dim=1)).numpy()

    def _of_all(self, seen: torch.Tensor) -> torch.Tensor:
        """Return what all processes have seen, float64, joined along the second axis."""
        seen = seen.double()
        if self.trainer.world_size > 1:
            parts: list[torch.Tensor | None] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, seen)
            seen = torch.cat([part for part in parts if part is not None], dim=1)
        return seen


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed what draws on a device.

    ``torch.manual_seed`` seeds all kinds of devices; where there is no GPU it formats the stack for each kind of one,
    which takes longer than a step of a small network.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def figures(seen: np.ndarray[Any, np.dtype[np.float64]], split: str, *, curves: bool) -> dict[str, float]:
    """Return loss and metrics of logits; what is undefined (one class only) stays NaN."""
    logits, labels, weights = seen
    truth = (labels >= 0.5).astype(np.int64)
    counts = metrics.confusion(truth, expit(logits) >= 0.5)
    loss = np.mean(weights * (np.logaddexp(0, logits) - labels * logits))
    values: dict[str, float] = {f"{split}_loss": float(loss), f"{split}_accuracy": float(counts.accuracy)}
    if curves:
        values |= {
            f"{split}_auc": metrics.roc_auc(truth, logits),
            f"{split}_average_precision": metrics.average_precision(truth, logits),
            f"{split}_kappa": float(counts.kappa),
            f"{split}_f1": float(counts.f1),
        }
    return values
