"""Images that are the same picture: byte for byte, nearly, mirrored, or with their greys turned round.

A cheap index proposes and a pixel correlation confirms. Every picture is squeezed to 64 x 64 by area averaging;
16 x 16 block means of that, standardised, are compared all with all by blocked matrix products, and pairs above
:data:`PROPOSE` are looked at again in 64 x 64. A pair is confirmed when its grey values correlate at least
:data:`CORRELATION` and its fine detail (the picture less its block means) at least :data:`DETAIL`. Standardising
makes this blind to brightness, contrast, size and encoding. Of an inverted copy both are as far below 0. Truncated
files are compared above their cut.

The bounds were set on FracAtlas by looking at every pair between 0.96 and 0.999: those above them show the same
exposure; below 0.98, other exposures of the same pose appear. No pair there correlates below -0.87, so inverted copies
stand far apart. Crops, padding and turned copies are not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import Catalogue
from osteon.data.fingerprints import SIDE, Fingerprints, fingerprint_catalogue
from osteon.progress import track

PROPOSE = 0.97
CORRELATION = 0.98
DETAIL = 0.85
COARSE = 16
FACTOR = SIDE // COARSE
LEAST_ROWS = 5
LEAST_SD = 2.0
MOST_PAIRS = 1_000_000
LISTED_COPIES = 16
QUERIES, TARGETS, CONFIRMED = 1024, 8192, 1024
COLUMNS = ("a", "b", "kind", "correlation", "detail")
KINDS = ("identical", "near", "mirrored", "inverted")

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of pictures found alike, each vector of shape ``(p,)``.

    Attributes:
        first: Row of the one picture, below ``second``.
        second: Row of the other.
        correlation: Of the grey values at 64 x 64.
        detail: Correlation of what the 16 x 16 block means leave out.
        mirrored: Whether the one is the other's mirror image, left to right.
        inverted: Whether bright is dark in the other; the correlations are those with its greys turned round.
    """

    first: Rows
    second: Rows
    correlation: Floats
    detail: Floats
    mirrored: NDArray[np.bool_]
    inverted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)

    def kinds(self) -> NDArray[np.str_]:
        """Return what each pair is, of :data:`KINDS`."""
        return np.where(self.inverted, "inverted", np.where(self.mirrored, "mirrored", "near"))


def find_duplicates(catalogue: Catalogue, fingerprints: Fingerprints | None = None) -> pd.DataFrame:
    """Find images of a catalogue that are the same picture.

    Args:
        catalogue: Whose images.
        fingerprints: Of its images; computed (or taken from the cache) where not given.

    Returns:
        One row per pair with the columns of :data:`COLUMNS`: two image ids, one of :data:`KINDS` (``inverted`` may be
        mirrored too), and the two correlations, once turned alike (both 1 for identical files). Of more than 16
        identical files each is paired with the first only; of identical files only the first is compared with others.
        ``attrs["complete"]`` is False where more than a million pairs were found and the search was ended.
    """
    prints = fingerprint_catalogue(catalogue) if fingerprints is None else fingerprints
    ids = catalogue.images["image_id"].to_numpy(dtype=object)
    first, second, representative = _identical(prints)
    usable = representative & prints.readable & ~blank(prints)
    found = match(prints.records["thumbnail"], np.where(usable, prints.records["readable"], 0.0))
    ones = np.ones(len(first), dtype=np.float32)
    pairs = pd.DataFrame(
        {
            "a": np.concatenate([ids[first], ids[found.first]]),
            "b": np.concatenate([ids[second], ids[found.second]]),
            "kind": ["identical"] * len(first) + found.kinds().tolist(),
            "correlation": np.concatenate([ones, found.correlation]).astype(float),
            "detail": np.concatenate([ones, found.detail]).astype(float),
        },
        columns=list(COLUMNS),
    )
    pairs.attrs["complete"] = len(found) < MOST_PAIRS
    return pairs


def blank(prints: Fingerprints) -> NDArray[np.bool_]:
    """Return which images hold too little to be compared: nearly one grey value; shape ``(n,)``."""
    thumbnails = prints.records["thumbnail"]
    parts = [thumbnails[start : start + QUERIES].std(axis=(1, 2)) for start in range(0, len(thumbnails), QUERIES)]
    return np.concatenate([np.zeros(0), *parts]) < LEAST_SD


def clusters(ids: pd.Series[str], pairs: pd.DataFrame) -> NDArray[np.intp]:
    """Number the images so that paired ones share a number, also over several pairs.

    Args:
        ids: Image ids, shape ``(n,)``.
        pairs: With image ids in the columns ``a`` and ``b``; those of images that are not in ``ids`` are ignored.

    Returns:
        Cluster numbers ``0 .. k - 1``, shape ``(n,)``.
    """
    place = pd.Index(ids)
    a, b = place.get_indexer(pd.Index(pairs["a"])), place.get_indexer(pd.Index(pairs["b"]))
    both = (a >= 0) & (b >= 0)
    return components(len(ids), a[both], b[both])


def components(n: int, a: Rows, b: Rows) -> NDArray[np.intp]:
    """Number ``n`` things so that joined ones share a number; ``a`` and ``b`` hold the joined places."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.intp)


def match(thumbnails: NDArray[np.uint8], readable: NDArray[np.floating]) -> Matches:
    """Find pictures that are nearly the same, mirrored or inverted.

    Args:
        thumbnails: Shape ``(n, 64, 64)``.
        readable: Share of each picture's rows, from the top, that may be compared; shape ``(n,)``. 0 leaves a picture
            out, as blank ones must be.

    Returns:
        The pairs, each once, at most about :data:`MOST_PAIRS`. Memory besides the input: 1 kB a picture and some
        100 MB for blocks.
    """
    coarse = _coarse(thumbnails)
    rows = np.clip(np.floor(np.asarray(readable) * COARSE), 0, COARSE).astype(np.intp)
    parts: list[Matches] = []
    blocks = list(_blocks(rows))
    for depth, queries, targets in track(blocks, "Comparing images"):
        proposed = _propose(coarse, depth, queries, targets)
        parts.extend(_confirm(thumbnails, depth * FACTOR, *pairs) for pairs in proposed)
        if sum(map(len, parts)) >= MOST_PAIRS:
            break
    return _joined(parts)


def _identical(prints: Fingerprints) -> tuple[Rows, Rows, NDArray[np.bool_]]:
    """Return pairs of files with the same bytes, and which files are the first of their kind."""
    places = np.flatnonzero(prints.readable)
    digests = pd.Series(prints.records["digest"][places])
    representative = np.zeros(len(prints), dtype=bool)
    representative[places[~digests.duplicated().to_numpy()]] = True
    copied = digests.duplicated(keep=False).to_numpy()
    first: list[int] = []
    second: list[int] = []
    for _, group in pd.Series(places[copied]).groupby(digests[copied].to_numpy(), sort=False):
        members = group.tolist()
        heads = members if len(members) <= LISTED_COPIES else members[:1]
        for place, head in enumerate(heads):
            first.extend([head] * (len(members) - place - 1))
            second.extend(members[place + 1 :])
    return np.array(first, dtype=np.intp), np.array(second, dtype=np.intp), representative


def _coarse(thumbnails: NDArray[np.uint8]) -> Floats:
    """Return block means, shape ``(n, 16, 16)``."""
    means = np.empty((len(thumbnails), COARSE, COARSE), dtype=np.float32)
    for start in range(0, len(thumbnails), TARGETS):
        part = thumbnails[start : start + TARGETS]
        means[start : start + TARGETS] = part.reshape(len(part), COARSE, FACTOR, COARSE, FACTOR).mean(axis=(2, 4))
    return means


def _blocks(rows: Rows) -> Iterator[tuple[int, Rows, Rows]]:
    """Yield how many rows to compare, of which queries, with which targets; together all pairs at least once.

    A pair is compared over the rows that both have: whole pictures among themselves, and each depth of cut pictures
    with all that reach as deep.
    """
    for depth in sorted({int(row) for row in rows if row >= LEAST_ROWS}, reverse=True):
        queries, targets = np.flatnonzero(rows == depth), np.flatnonzero(rows >= depth)
        for start in range(0, len(queries), QUERIES):
            for end in range(0, len(targets), TARGETS):
                some, others = queries[start : start + QUERIES], targets[end : end + TARGETS]
                if depth < COARSE or others[-1] > some[0]:
                    yield depth, some, others


def _propose(coarse: Floats, depth: int, queries: Rows, targets: Rows) -> Iterator[tuple[Rows, Rows, bool]]:
    """Yield pairs whose block means correlate, for better or worse, as they are and mirrored."""
    target = standardised(coarse[targets, :depth])
    for mirrored in (False, True):
        query = coarse[queries, :depth, ::-1] if mirrored else coarse[queries, :depth]
        alike = standardised(query) @ target.T
        a, b = np.divmod(np.flatnonzero(np.abs(alike, out=alike) > PROPOSE), len(targets))
        first, second = queries[a], targets[b]
        keep = first < second if depth == COARSE else first != second
        yield first[keep], second[keep], mirrored


def _confirm(thumbnails: NDArray[np.uint8], rows: int, first: Rows, second: Rows, mirrored: bool) -> Matches:
    """Keep the pairs that also agree pixel by pixel."""
    correlation = np.empty(len(first), dtype=np.float32)
    detail = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), CONFIRMED):
        part = slice(start, start + CONFIRMED)
        a = thumbnails[first[part], :rows].astype(np.float32)
        b = thumbnails[second[part], :rows].astype(np.float32)
        a = a[:, :, ::-1] if mirrored else a
        correlation[part] = (standardised(a) * standardised(b)).sum(axis=1)
        detail[part] = (standardised(_fine(a)) * standardised(_fine(b))).sum(axis=1)
    inverted = correlation < 0
    turned = np.where(inverted, np.float32(-1), np.float32(1))
    correlation, detail = correlation * turned, detail * turned
    keep = (correlation >= CORRELATION) & (detail >= DETAIL)
    first, second = first[keep], second[keep]
    low, high = np.minimum(first, second), np.maximum(first, second)
    return Matches(low, high, correlation[keep], detail[keep], np.full(len(low), mirrored), inverted[keep])


def _fine(pictures: Floats) -> Floats:
    """Return pictures less the means of their 4 x 4 blocks."""
    n, rows, columns = pictures.shape
    blocks = pictures.reshape(n, rows // FACTOR, FACTOR, columns // FACTOR, FACTOR)
    fine: Floats = (blocks - blocks.mean(axis=(2, 4), keepdims=True)).reshape(n, rows, columns)
    return fine


def standardised(pictures: Floats) -> Floats:
    """Return pictures as rows of mean 0 and length 1, so that products are correlations; flat ones are all 0."""
    flat: Floats = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.float32(1e-3))
    return flat


def _joined(parts: list[Matches]) -> Matches:
    """Join the parts, keeping of each pair the better match."""
    if not parts:
        none = np.zeros(0, dtype=np.intp)
        empty, never = none.astype(np.float32), none.astype(bool)
        return Matches(none, none, empty, empty, never, never)
    every = {item.name: np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Matches)}
    first, second = every["first"], every["second"]
    order = np.lexsort((-every["correlation"], second, first))
    pairs = np.stack([first[order], second[order]])
    fresh = np.concatenate([[True], (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)]) if len(order) else order.astype(bool)
    chosen = order[fresh]
    return Matches(**{name: values[chosen] for name, values in every.items()})
