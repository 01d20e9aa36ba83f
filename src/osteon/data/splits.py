"""Who is trained on, validated on and tested on, and who stands on two sides.

``docs/splits.md`` says what each method is for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import SplitSettings
from osteon.data.balance import group_codes, share_out, strata
from osteon.data.catalogue import SPLITS, Catalogue
from osteon.errors import InputError, SettingsError

PAPER_TEST_SHARE = 64 / 1272
"""Images of MURA's humerus training set that the paper's table 2 was computed on (Verma 2024; its text says 70)."""

_NEARLY_ALL = 0.9
_HELD_OUT = ("test", "valid")
_Names = NDArray[np.object_]


def make_split(catalogue: Catalogue, settings: SplitSettings | None = None) -> Catalogue:
    """Put each image into a split.

    Args:
        catalogue: Images; rows without a label are shared out too.
        settings: Method, shares and seed; None: the defaults.

    Returns:
        The catalogue with ``split`` filled (empty for an image left out because it would leak), ``source["split"]``
        saying how, and a warning for whatever the user should know.

    Raises:
        InputError: There are too few groups, a side would lack a class, or the catalogue's own split is incomplete.
        SettingsError: The settings contradict each other or do not fit this data set.
    """
    settings = settings or SplitSettings()
    catalogue.labelled()
    if settings.folds is not None:
        method: Callable[[Catalogue, SplitSettings], Catalogue] = _folds
    else:
        method = _METHODS[settings.method]
    result = method(catalogue, settings)
    how = settings.model_dump(mode="json") | {"done": result.source.get("split", {}).get("done", settings.method)}
    result = _warned(result, *_class_warnings(result), *_leak_warnings(result))
    return replace(result, source={**result.source, "split": how})


def leaks(catalogue: Catalogue) -> pd.DataFrame:
    """Return the patients, studies and groups that stand in more than one split.

    Returns:
        One row each: ``kind`` (``patient``, ``study``, ``group``), ``id``, images in ``train``, ``valid`` and ``test``,
        and ``images`` in all; empty if nothing leaks. Near-duplicates count where ``group_id`` joins them.
    """
    placed = catalogue.images[catalogue.images["split"] != ""]
    tables = [_straddling(placed, kind) for kind in ("patient", "study", "group")]
    return pd.concat(tables, ignore_index=True)


def describe(catalogue: Catalogue) -> pd.DataFrame:
    """Count each split.

    Returns:
        One row a split that occurs (``left out`` for none): ``split, images, positives, negatives, unlabelled,
        positive_share, studies, patients, groups``. ``positive_share`` is of labelled images, NaN without any;
        ``patients`` is NA where none is known.
    """
    images = catalogue.images.assign(_group=group_codes(catalogue.images))
    rows = [_counts(images[images["split"] == name], name) for name in (*SPLITS, "") if (images["split"] == name).any()]
    return pd.DataFrame(rows).astype({"patients": "Int64"})


# The methods


def _auto(catalogue: Catalogue, settings: SplitSettings) -> Catalogue:
    own = _own_splits(catalogue)
    unplaced = int((catalogue.images["split"] == "").sum())
    if own >= {"train", "valid", "test"} and not unplaced:
        return _done(_without_leaks(catalogue), "given")
    if "train" in own and len(own) == 2 and not unplaced:
        return _carved(catalogue, settings, held_out=(own - {"train"}).pop())
    result = _grouped(catalogue, settings)
    if own:
        found = f"only {', '.join(sorted(own))}" if not unplaced else f"{unplaced} of {len(catalogue)} images in none"
        return _warned(result, f"the data set's own split is not complete ({found}), so a new one was made by group")
    return result


def _carved(catalogue: Catalogue, settings: SplitSettings, held_out: str) -> Catalogue:
    """Test on the set that was held out; take validation groups from the training set."""
    was = catalogue.images["split"].to_numpy(dtype=object)
    catalogue = _without_leaks(_with_split(catalogue, np.where(was == held_out, "test", was)))
    names = catalogue.images["split"].to_numpy(dtype=object).copy()
    train = names == "train"
    names[train] = _placed(catalogue.images[train], {"train": 1 - settings.valid, "valid": settings.valid}, settings)
    text = f"the data set's own {held_out} set is the test set here"
    if settings.valid:
        text += f"; {(names == 'valid').sum()} images of its training set, by group, are for validation"
    return _warned(_done(_with_split(catalogue, names), "grouped within train"), text)


def _grouped(catalogue: Catalogue, settings: SplitSettings) -> Catalogue:
    names = _placed(catalogue.images, _shares(settings), settings)
    result = _done(_with_split(catalogue, names), "grouped")
    known = (catalogue.images["patient_id"] != "").any()
    if not known and len(np.unique(group_codes(catalogue.images))) > _NEARLY_ALL * len(catalogue):
        return _warned(
            result,
            "patients are not known and nearly every image is a group of its own, so images of one patient may be on "
            "both sides: name the patient column, or set data.neighbours",
        )
    return result


def _folds(catalogue: Catalogue, settings: SplitSettings) -> Catalogue:
    folds = settings.folds or 0
    if settings.method not in ("auto", "grouped"):
        raise SettingsError(f"split.folds goes with grouped splits, not with split.method={settings.method}")
    if folds < 3 and settings.valid > 0:
        raise SettingsError(
            "2 folds leave nothing to train on: one is tested on, one validated on",
            where="split.folds",
            hint="split.valid=0 validates on none",
        )
    if settings.fold >= folds:
        raise SettingsError(f"there is no fold {settings.fold} of {folds}; they count from 0", where="split.fold")
    parts = _placed(catalogue.images, {str(fold): 1 / folds for fold in range(folds)}, settings)
    names = np.where(parts == str(settings.fold), "test", "train").astype(object)
    if settings.valid > 0:
        names[parts == str((settings.fold + 1) % folds)] = "valid"
    result = _done(_with_split(catalogue, names), f"fold {settings.fold} of {folds}")
    if _own_splits(catalogue):
        return _warned(result, "the data set's own split is not used: the folds are made of all its images")
    return result


def _given(catalogue: Catalogue, settings: SplitSettings) -> Catalogue:
    unplaced = catalogue.images.loc[catalogue.images["split"] == "", "image_id"]
    hint = "split.method=grouped makes a split by patient or group"
    if len(unplaced):
        what = f"{len(unplaced)} of {len(catalogue)} images have no split, e.g. {unplaced.iloc[0]!r}"
        raise InputError(what, where=catalogue.root, hint=hint)
    missing = [name for name in ("train", "valid") if name not in _own_splits(catalogue)]
    if missing:
        raise InputError(f"the data set's own split has no {' and no '.join(missing)}", where=catalogue.root, hint=hint)
    return _done(catalogue, "given")


def _paper(catalogue: Catalogue, settings: SplitSettings) -> Catalogue:
    """Take the paper's test images from MURA's training set at random; 1,208, 288 and 64 for humerus."""
    names = catalogue.images["split"].to_numpy(dtype=object).copy()
    if set(names) != {"train", "valid"}:
        raise SettingsError(
            "split.method=paper needs MURA's own train and valid, and nothing else",
            where=catalogue.root,
            hint="Read it with --reader mura --region humerus; for other data use split.method=image or grouped",
        )
    train = np.flatnonzero(names == "train")
    drawn = np.random.default_rng(settings.seed).permutation(len(train))[: max(1, round(len(train) * PAPER_TEST_SHARE))]
    names[train[drawn]] = "test"
    return _done(_with_split(catalogue, names), "paper")


def _image(catalogue: Catalogue, settings: SplitSettings) -> Catalogue:
    """Draw images one by one, each class in the same shares."""
    rng = np.random.default_rng(settings.seed)
    shares = _shares(settings)
    names: _Names = np.full(len(catalogue), "train", dtype=object)
    labels = catalogue.images["label"].fillna(-1).to_numpy(dtype=np.int64)
    for label in np.unique(labels):
        drawn = rng.permutation(np.flatnonzero(labels == label))
        cuts = [round(len(drawn) * sum(list(shares.values())[: k + 1])) for k in range(len(shares))]
        for name, part in zip(shares, np.split(drawn, cuts), strict=False):
            names[part] = name
    return _done(_with_split(catalogue, names), "image")


_METHODS: dict[str, Callable[[Catalogue, SplitSettings], Catalogue]] = {
    "auto": _auto,
    "grouped": _grouped,
    "given": _given,
    "paper": _paper,
    "image": _image,
}


# Their parts


def _shares(settings: SplitSettings) -> dict[str, float]:
    train = 1 - settings.valid - settings.test
    if train <= 1e-9:
        raise SettingsError(
            f"split.valid {settings.valid:g} and split.test {settings.test:g} leave nothing to train on",
            hint="Their sum must be below 1",
        )
    return {"train": train, "valid": settings.valid, "test": settings.test}


def _placed(images: pd.DataFrame, shares: dict[str, float], settings: SplitSettings) -> _Names:
    """Return the part of each image, groups whole; the order of the rows does not matter."""
    shares = {name: share for name, share in shares.items() if share > 0}
    order = np.argsort(images["image_id"].to_numpy(dtype=object), kind="stable")
    images = images.iloc[order]
    groups = group_codes(images)
    labels = images["label"].fillna(-1).to_numpy(dtype=np.int64)
    classes = np.stack([labels == 0, labels == 1], axis=1)
    _check_groups(groups, classes, list(shares))
    rng = np.random.default_rng(settings.seed)
    parts = share_out(groups, strata(images), classes, np.array(list(shares.values())), rng)
    for part, name in enumerate(shares):
        for label, word in enumerate(("negative", "positive")):
            if not classes[parts == part, label].any():
                raise _too_few(f"the {_part_name(name)} would hold no {word} image")
    names: _Names = np.empty(len(images), dtype=object)
    names[order] = np.array(list(shares), dtype=object)[parts]
    return names


def _check_groups(groups: NDArray[np.int64], classes: NDArray[np.bool_], parts: list[str]) -> None:
    number = len(np.unique(groups))
    if number < len(parts):
        raise _too_few(f"{number} groups of images cannot make {len(parts)} parts")
    for label, word in enumerate(("negative", "positive")):
        number = len(np.unique(groups[classes[:, label]]))
        if number < len(parts):
            raise _too_few(f"only {number} groups hold {word} images, but each of {len(parts)} parts needs one")


def _too_few(what: str) -> InputError:
    return InputError(
        what,
        where="split",
        hint="Give more patients, make fewer parts (split.test=0, fewer split.folds), or check data.neighbours and the "
        "patient column: one wrong id joins all images",
    )


def _part_name(name: str) -> str:
    return f"fold {name}" if name.isdigit() else f"{name} set"


def _without_leaks(catalogue: Catalogue) -> Catalogue:
    """Leave out images whose group also stands in a set held out further: test before valid before train."""
    names = catalogue.images["split"].to_numpy(dtype=object).copy()
    groups = group_codes(catalogue.images)
    out = np.zeros(len(names), dtype=bool)
    for held_out, others in (("test", ("valid", "train")), ("valid", ("train",))):
        out |= np.isin(groups, groups[(names == held_out) & ~out]) & np.isin(names, others)
    if not out.any():
        return catalogue
    names[out] = ""
    text = f"{out.sum()} images of the data set's own split are left out, since their patient or group is also held out"
    return _warned(_with_split(catalogue, names), f"{text} (split.method=given keeps them)")


def _own_splits(catalogue: Catalogue) -> set[str]:
    return set(catalogue.images["split"]) - {""}


def _with_split(catalogue: Catalogue, names: _Names) -> Catalogue:
    return catalogue.with_images(catalogue.images.assign(split=names))


def _done(catalogue: Catalogue, how: str) -> Catalogue:
    return replace(catalogue, source={**catalogue.source, "split": {"done": how}})


def _warned(catalogue: Catalogue, *texts: str) -> Catalogue:
    return replace(catalogue, warnings=(*catalogue.warnings, *texts)) if texts else catalogue


# What came of it


def _class_warnings(catalogue: Catalogue) -> list[str]:
    """Refuse a training set of one class; warn of a held-out set of one class, or empty."""
    found = []
    for name in ("train", *_HELD_OUT):
        labels = catalogue.in_split(name)["label"].dropna()
        if labels.nunique() == 2:
            continue
        if name == "train":
            hint = "split.method=grouped makes a new split"
            raise InputError("the training set does not hold both classes", where=catalogue.root, hint=hint)
        if len(labels):
            found.append(f"the {name} set holds one class only, so most figures are undefined on it")
    return found


def _leak_warnings(catalogue: Catalogue) -> list[str]:
    table = leaks(catalogue)
    found = []
    for kind, words in (("patient", "patients"), ("group", "groups")):
        rows = table[table["kind"] == kind]
        if len(rows):
            images = int(rows["images"].sum())
            found.append(f"{len(rows)} {words} ({images} images) are in more than one split: figures come out too good")
    return found


def _straddling(images: pd.DataFrame, kind: str) -> pd.DataFrame:
    ids = images[f"{kind}_id"]
    known = (ids != "").to_numpy(dtype=bool)
    codes, names = pd.factorize(ids.to_numpy(dtype=object)[known], sort=True)
    counts = np.zeros((len(names), len(SPLITS)), dtype=np.int64)
    np.add.at(counts, (codes, pd.Index(SPLITS).get_indexer(pd.Index(images["split"])[known])), 1)
    several = (counts > 0).sum(axis=1) > 1
    table = pd.DataFrame(counts[several], columns=list(SPLITS)).assign(images=counts[several].sum(axis=1))
    table.insert(0, "kind", kind)
    table.insert(1, "id", pd.Series(names[several], dtype=str))
    return table.sort_values(["images", "id"], ascending=[False, True], ignore_index=True)


def _counts(images: pd.DataFrame, name: str) -> dict[str, object]:
    labels = images["label"].dropna()
    patients = set(images["patient_id"]) - {""}
    return {
        "split": name or "left out",
        "images": len(images),
        "positives": int((labels == 1).sum()),
        "negatives": int((labels == 0).sum()),
        "unlabelled": len(images) - len(labels),
        "positive_share": float((labels == 1).mean()) if len(labels) else float("nan"),
        "studies": images["study_id"].nunique(),
        "patients": len(patients) if patients else None,
        "groups": images["_group"].nunique(),
    }
