"""Images of a run, as long as their files are those that it was trained and tested on."""

from __future__ import annotations

from osteon.data.catalogue import Catalogue
from osteon.data.store import ImageStore
from osteon.run import RunFolder
from osteon.training.same_data import refuse_other_files


def images_of(run: RunFolder, catalogue: Catalogue) -> ImageStore:
    """Return the store of some of a run's images, which the run may be asked about.

    Files that cannot be read any more are among the store's refusals, and stop nothing.

    Args:
        run: Whose settings and record of its files count.
        catalogue: The images wanted.

    Raises:
        OtherDataError: A file holds something else than when the run was trained.
        InputError: No file can be read, or the run's record cannot.
    """
    settings = run.settings()
    store = ImageStore.build(catalogue, settings.store, damaged=settings.data.damaged)
    refuse_other_contents(run, catalogue, store)
    return store


def refuse_other_contents(run: RunFolder, catalogue: Catalogue, store: ImageStore) -> None:
    """Refuse a run whose images held something else when it was trained; those that cannot be read are passed over.

    Args:
        run: Which; one that has not recorded what its files held is not refused.
        catalogue: The images of the store.
        store: Of some of the run's images.

    Raises:
        OtherDataError: They held something else.
        InputError: The run's record cannot be read.
    """
    readable = store.usable(catalogue) if store.refusals else None
    refuse_other_files(run, store if readable is None else ImageStore.build(readable, store.settings))
