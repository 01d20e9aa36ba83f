"""A finished run's validation and test images under views of test-time augmentation."""

from __future__ import annotations

import hashlib
import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import RunSettings
from osteon.data.catalogue import Catalogue
from osteon.data.table_file import write_csv
from osteon.errors import InputError
from osteon.evaluation.sources import Source
from osteon.inference.views import ORIGINAL, Fill, View, predict_views
from osteon.progress import track
from osteon.run import RunFolder, read_json, write_json
from osteon.training.method import Trained, load_run
from osteon.training.pipeline import system_name
from osteon.training.predict import predictions_table
from osteon.training.prepare import prepare
from osteon.training.same_data import refuse_other_files

TIMED_IMAGES, ROUNDS, LEAST_SECONDS = 16, 5, 0.05
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeenRun:
    """A finished run with its validation and test images, ready to be predicted under views.

    Attributes:
        run: The run folder.
        settings: Of the run.
        trained: What it has learnt.
        rows: Catalogue rows of the images.
        pixels: The images as the run's store holds them, shape ``(n, size, size)``.
        written: The run's own predictions.
    """

    run: RunFolder
    settings: RunSettings
    trained: Trained
    rows: pd.DataFrame
    pixels: NDArray[np.uint8]
    written: pd.DataFrame

    @classmethod
    def at(cls, folder: str | Path) -> SeenRun:
        """Open a run and its images.

        Raises:
            InputError: The run has not finished, or its images cannot be read any more.
            OtherDataError: Its images have changed since.
        """
        run = RunFolder.open(folder)
        written = Source.open(folder).read()
        settings = run.settings()
        catalogue = Catalogue.read(run.split)
        images = catalogue.images
        prepared = prepare(catalogue.with_images(images[images["split"].isin(["valid", "test"])]), settings)
        refuse_other_files(run, prepared.store)
        rows = prepared.catalogue.images.reset_index(drop=True)
        if rows.empty:
            raise InputError("the run has no validation or test images that can be read", where=run.path)
        pixels = prepared.store.pixels[prepared.store.rows(rows["image_id"])]
        return cls(run, settings, load_run(run), rows, pixels, written)

    @property
    def fill(self) -> Fill:
        """Grey values from outside a picture, as in the run's training."""
        return self.settings.augment.fill

    def predict(self, views: Sequence[View], out: Path) -> pd.DataFrame:
        """Return contract rows with a column for each view; each view is kept in ``views.csv`` when it is done."""
        name = system_name(self.settings)
        table = predictions_table(self.rows, np.zeros(len(self.rows)), name).drop(columns=["probability"])
        known = self._kept(out)
        for view in track(views, "Views"):
            if view.name in known:
                table[view.name] = known[view.name].astype(float).to_numpy()
                continue
            table[view.name] = predict_views(self.trained.probabilities, self.pixels, [view], self.fill)[:, 0]
            self._keep(table, out)
        return table

    def milliseconds(self, views: Sequence[View]) -> dict[str, float]:
        """Return the time of one image by view, the median of interleaved rounds on the same images."""
        pixels = self.pixels[:TIMED_IMAGES]
        self.trained.probabilities(pixels)
        seconds: dict[str, list[float]] = {view.name: [] for view in views}
        for _ in track(range(ROUNDS), "Timing views"):
            for view in views:
                seconds[view.name].append(self._seconds(pixels, view))
        return {name: 1000 * statistics.median(times) / len(pixels) for name, times in seconds.items()}

    def _seconds(self, pixels: NDArray[np.uint8], view: View) -> float:
        """Return the seconds of one call, as the mean over enough calls to be told from the machine's moods."""
        calls, start = 0, time.perf_counter()
        while True:
            predict_views(self.trained.probabilities, pixels, [view], self.fill)
            calls += 1
            passed = time.perf_counter() - start
            if passed > LEAST_SECONDS:
                return passed / calls

    def reproduced(self, table: pd.DataFrame) -> float:
        """Return the largest difference of the original view from the run's own predictions; NaN if none is shared."""
        own = self.written.set_index("image_id")["probability"]
        shared = table[table["image_id"].isin(own.index)]
        differences = np.abs(shared[ORIGINAL.name].to_numpy() - own.loc[shared["image_id"]].to_numpy())
        return float(differences.max()) if len(shared) else float("nan")

    def _key(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.run.predictions.read_bytes()).hexdigest()
        return {"run_predictions_sha256": digest, "fill": self.fill, "images": len(self.rows)}

    def _kept(self, out: Path) -> pd.DataFrame:
        """Return the views of an earlier study of the same predictions; an empty table if there is none."""
        try:
            if read_json(out / "views.json") == self._key():
                kept = pd.read_csv(out / "views.csv", dtype=str, keep_default_na=False)
                if kept["image_id"].tolist() == self.rows["image_id"].tolist():
                    return kept
        except (InputError, OSError, ValueError, KeyError):
            log.info("%s holds no views of these predictions", out)
        (out / "views.json").unlink(missing_ok=True)
        return pd.DataFrame()

    def _keep(self, table: pd.DataFrame, out: Path) -> None:
        write_csv(out / "views.csv", table, "%.17g")
        write_json(out / "views.json", self._key())
