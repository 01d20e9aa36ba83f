"""Whether images whose file numbers follow one another carry the same label more often than chance has it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from osteon.data.catalogue import Catalogue
from osteon.data.groups import file_numbers
from osteon.statistics.intervals import Estimate, normal_quantile

LEAST_PAIRS = 30
LEAST_CHANGES = 3
LONGEST_RUN = 100


def neighbour_correlation(catalogue: Catalogue) -> Estimate:
    """Return the correlation of an image's label with that of the next file.

    Next is the file whose number is one higher in the same sequence. Images known to be of one study or patient are
    not compared with each other, and sequences of one class only (class folders) tell nothing and are left out.

    Returns:
        Pearson's (phi) correlation; ``n`` is the number of pairs. The interval is Fisher's, on half the pairs, since
        each image stands in two. Undefined below 30 pairs, and where files are numbered by class (runs of one label
        are longer than any patient's, 100 images on average, or fewer than 3 changes in all).
    """
    pairs = _next_files(catalogue.images)
    labels = catalogue.images["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    here, after = labels[pairs["here"]], labels[pairs["after"]]
    n = len(pairs)
    if n < LEAST_PAIRS:
        return Estimate.undefined(f"fewer than {LEAST_PAIRS} pairs of consecutive files", n)
    if np.count_nonzero(here != after) < max(LEAST_CHANGES, n / LONGEST_RUN):
        return Estimate.undefined("the files are numbered by class", n)
    if here.std() == 0 or after.std() == 0:
        return Estimate.undefined("one class only", n)
    value = float(np.corrcoef(here, after)[0, 1])
    half = normal_quantile(0.95) / math.sqrt(n / 2 - 3)
    centre = math.atanh(min(max(value, -1 + 1e-9), 1 - 1e-9))
    return Estimate(value, math.tanh(centre - half), math.tanh(centre + half), n)


def _next_files(images: pd.DataFrame) -> pd.DataFrame:
    """Return the places of labelled images (``here``) and of the next file (``after``)."""
    table = file_numbers(images).assign(place=np.arange(len(images)), label=images["label"])
    table = table.assign(patient=images["patient_id"], study=images["study_id"])
    table = table[table["number"].notna() & table["label"].notna()]
    table = table[table.groupby("sequence")["label"].transform("nunique") > 1]
    table = table.sort_values(["sequence", "number"], kind="stable").reset_index(drop=True)
    after = table.shift(-1)
    follows = (table["sequence"] == after["sequence"]) & (after["number"] - table["number"] == 1)
    strangers = (table["study"] != after["study"]) & ((table["patient"] != after["patient"]) | (table["patient"] == ""))
    kept = (follows & strangers).fillna(False).to_numpy(dtype=bool)
    return pd.DataFrame(
        {"here": table["place"][kept].to_numpy(np.intp), "after": after["place"][kept].to_numpy(np.intp)}
    )
