"""Whether a model was taught on the body region that a header, a table or the user names."""

from __future__ import annotations

from collections.abc import Collection

from osteon.data.flags import Flag, Gravity

WITHIN = {
    "hand": ("finger", "wrist", "forearm", "elbow"),
    "leg": ("femur", "knee", "ankle", "foot"),
    "hip": ("pelvis", "femur"),
    "shoulder": ("humerus",),
}
"""What a data set of wide regions, as FracAtlas, may count among each."""


def unseen_region(region: str, known: Collection[str]) -> tuple[Flag, ...]:
    """Return a flag of a region that the model was not taught on.

    Args:
        region: In the catalogues' words; empty: not known.
        known: The model's regions; none: not known.

    Returns:
        ``abstain`` of another part of the body; ``warn`` of a part that one of the model's regions may take in, and of
        a word that is no part of the body.
    """
    if not region or not known or region in known:
        return ()
    from osteon.data.dicom_anatomy import REGIONS  # brings pydicom

    near = any(region in WITHIN.get(wide, ()) for wide in known)
    severity: Gravity = "warn" if near or region not in REGIONS else "abstain"
    words = "by that name" if near else "at all"
    what = f"the model was not taught on {region} {words}; it knows {', '.join(sorted(known))}"
    return (Flag("unseen_region", severity, what),)
