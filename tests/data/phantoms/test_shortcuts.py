"""The class can be read from nothing but the break: pictures with and without it, and the audit's own check."""

import io

import numpy as np
import pytest
from PIL import Image

from osteon.config import DataSettings
from osteon.data.audit import run_audit
from osteon.data.mura import read_mura
from osteon.data.phantoms import PhantomSettings, write_phantoms
from osteon.data.phantoms.plan import plan_studies
from osteon.data.phantoms.render import Specimen, render

SEEN_BY_A_NETWORK = {
    "width",
    "height",
    "aspect (width / height)",
    "file size",
    "mean grey",
    "grey spread",
    "border brightness",
}


SETTINGS = PhantomSettings(images=300, size=96, seed=1, difficulty="easy")


def of_the_whole_picture(pixels):
    """File size, mean grey, grey spread and border brightness."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return len(file.getvalue()), pixels.mean(), pixels.std(), border.mean()


def test_a_break_shifts_nothing_that_is_of_the_whole_picture():
    """By less than 0.15 standard deviations: an AUC of 0.54, which an audit would need thousands of pictures to see."""
    pairs = [
        [of_the_whole_picture(render(Specimen(study, SETTINGS, broken), 1).pixels) for broken in (False, True)]
        for study in plan_studies(SETTINGS)[:30]
    ]
    whole, broken = np.array(pairs).transpose(1, 0, 2)
    shift = (broken - whole).mean(axis=0) / whole.std(axis=0)
    assert np.abs(shift).max() < 0.15


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    write_phantoms(folder, SETTINGS, workers=1)  # starting others takes longer than it saves
    return run_audit(read_mura(folder), DataSettings(path=folder))


@pytest.mark.slow
def test_the_audit_finds_no_shortcut(audit):
    assert len(audit.catalogue) == 300
    cues = {cue.name: cue for cue in audit.shortcuts.cues}
    assert set(cues) >= SEEN_BY_A_NETWORK
    for name in SEEN_BY_A_NETWORK:
        assert cues[name].auc.low < 0.5 or cues[name].auc.value < 0.56, name
    assert [cue.name for cue in cues.values() if cue.flagged] == []


@pytest.mark.slow
def test_all_cues_together_tell_nothing_either(audit):
    assert audit.shortcuts.pixels.low < 0.5
    assert audit.shortcuts.everything.low < 0.5


@pytest.mark.slow
def test_the_audit_finds_no_copies_and_no_leak(audit):
    assert len(audit.pairs) == 0
    assert audit.refusals == ()
    assert [finding.code for finding in audit.findings if finding.severity == "error"] == []
