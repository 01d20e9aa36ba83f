"""The class can be read from nothing but the break: the audit's own check, on as many phantoms as the demo uses."""

import pytest

from osteon.config import DataSettings
from osteon.data.audit import run_audit
from osteon.data.mura import read_mura
from osteon.data.phantoms import PhantomSettings, write_phantoms

SEEN_BY_A_NETWORK = {
    "width",
    "height",
    "aspect (width / height)",
    "file size",
    "mean grey",
    "grey spread",
    "border brightness",
}


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    write_phantoms(folder, PhantomSettings(images=800, size=96, seed=1, difficulty="easy"))
    return run_audit(read_mura(folder), DataSettings(path=folder))


@pytest.mark.slow
def test_the_audit_finds_no_shortcut(audit):
    assert len(audit.catalogue) == 800
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
