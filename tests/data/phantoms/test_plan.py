"""Who is radiographed, and that nothing but the break follows the label."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from osteon.data.phantoms import PhantomSettings
from osteon.data.phantoms.plan import plan_studies
from osteon.data.phantoms.render import Specimen, draw_technique, facts, render
from osteon.data.phantoms.settings import DEFAULT_REGIONS
from osteon.errors import SettingsError

ALL_REGIONS = ("humerus", "forearm", "wrist", "elbow", "hand", "finger", "femur")


@pytest.mark.parametrize("images", [1, 7, 333])
def test_as_many_images_as_asked(images):
    studies = plan_studies(PhantomSettings(images=images))
    assert sum(study.images for study in studies) == images
    assert all(1 <= study.images <= 4 for study in studies)


def test_as_many_patients_as_asked_each_on_one_side_of_the_split():
    studies = plan_studies(PhantomSettings(patients=50, valid=0.3))
    sides = {study.patient: study.split for study in studies}
    assert Counter(sides.values()) == {"train": 35, "valid": 15}
    assert all(study.split == sides[study.patient] for study in studies)


def test_the_share_of_positive_studies_is_as_asked_in_each_split_and_region():
    studies = plan_studies(PhantomSettings(patients=400, positive=0.3))
    for split in ("train", "valid"):
        for region in DEFAULT_REGIONS:
            labels = [study.positive for study in studies if (study.split, study.region) == (split, region)]
            assert abs(sum(labels) - 0.3 * len(labels)) <= 1.5


def test_small_sets_still_have_both_classes_in_both_splits():
    studies = plan_studies(PhantomSettings(patients=12, positive=0.1))
    for split in ("train", "valid"):
        assert {study.positive for study in studies if study.split == split} == {True, False}


@pytest.mark.parametrize("positive", [0.0, 1.0])
def test_one_class_only_if_asked(positive):
    assert {study.positive for study in plan_studies(PhantomSettings(patients=9, positive=positive))} == {
        bool(positive)
    }


def test_studies_and_images_do_not_depend_on_labels():
    few, many = (plan_studies(PhantomSettings(images=200, positive=share)) for share in (0.1, 0.9))
    assert [replace(study, positive=False) for study in few] == [replace(study, positive=False) for study in many]


@pytest.mark.parametrize("region", ALL_REGIONS)
def test_how_a_picture_is_taken_does_not_depend_on_the_label(region):
    settings = PhantomSettings(patients=3, regions=(region,), size=64)
    for study in plan_studies(settings):
        whole, broken = (Specimen(study, settings, broken) for broken in (False, True))
        assert draw_technique(whole, 1) == draw_technique(broken, 1)
        assert whole.place[1] == broken.place[1]


def test_a_patients_limb_is_built_once_and_is_nobody_elses():
    settings = PhantomSettings(patients=3, regions=("forearm",), size=64)
    one, other = (next(study for study in plan_studies(settings) if study.patient == number) for number in (1, 2))
    limb = Specimen(one, settings, broken=False).limb
    assert Specimen(replace(one, number=2), settings, broken=True).limb is limb
    for study, seed in ((other, settings.seed), (one, settings.seed + 1)):
        another = Specimen(study, settings.model_copy(update={"seed": seed}), broken=False).limb
        assert (another.bones[0].shape.table != limb.bones[0].shape.table).any()


@pytest.mark.parametrize("region", ALL_REGIONS)
def test_every_region_shows_a_limb_and_its_break_inside_the_picture(region):
    settings = PhantomSettings(patients=4, regions=(region,), size=96, positive=1.0, difficulty="easy")
    for study in plan_studies(settings):
        specimen = Specimen.of(study, settings)
        radiograph = render(specimen, 1)
        whole = render(Specimen(study, settings, broken=False), 1)
        rows, columns = radiograph.pixels.shape
        assert max(rows, columns) == 96
        assert radiograph.pixels.std() > 15
        assert whole.boxes == ()
        assert len(radiograph.boxes) == len(specimen.breaks) >= 1
        ((_, _, (x, y, width, height)), *_) = radiograph.boxes
        assert 0 <= x < x + width <= columns
        assert 0 <= y < y + height <= rows
        assert facts(specimen, radiograph)["fracture"] == radiograph.boxes[0][1]
        assert facts(specimen, whole)["view"] == facts(specimen, radiograph)["view"]


def test_the_break_changes_the_picture_near_its_box_more_than_anywhere():
    settings = PhantomSettings(patients=15, regions=("humerus",), size=96, positive=1.0, difficulty="hard")
    inside, outside = [], []
    for study in plan_studies(settings):
        broken = render(Specimen.of(study, settings), 1)
        whole = render(Specimen(study, settings, broken=False), 1)
        change = np.abs(broken.pixels.astype(float) - whole.pixels)
        box = np.zeros(change.shape, dtype=bool)
        ((_, _, (x, y, width, height)), *_) = broken.boxes
        box[y : y + height, x : x + width] = True
        inside.append(change[box].mean())
        outside.append(change[~box].mean())
    assert np.median(np.divide(inside, outside)) > 2


def test_harder_breaks_change_the_picture_less():
    def change(difficulty):
        settings = PhantomSettings(patients=12, regions=("humerus",), size=64, positive=1.0, difficulty=difficulty)
        pairs = [
            [render(Specimen(study, settings, broken), 1).pixels.astype(float) for broken in (True, False)]
            for study in plan_studies(settings)
        ]
        return np.mean([np.abs(broken - whole).mean() for broken, whole in pairs])

    assert change("easy") > 1.3 * change("normal") > 1.7 * change("hard")


def test_views_turn_the_limb():
    settings = PhantomSettings(patients=200, regions=("forearm",), size=64)
    found = {}
    for study in plan_studies(settings):
        for image in range(1, study.images + 1):
            technique = draw_technique(Specimen.of(study, settings), image)
            found.setdefault(technique.view, []).append(abs(technique.turn))
    assert {view: round(np.median(turns) / 5) * 5 for view, turns in found.items()} == {
        "frontal": 5,
        "lateral": 90,
        "oblique": 45,
    }


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"images": 10, "patients": 10}, "not both"),
        ({"size": 8}, "size"),
        ({"regions": ("skull",)}, "regions"),
        ({"regions": ()}, "regions"),
        ({"positive": 1.5}, "positive"),
        ({"difficulty": "absurd"}, "difficulty"),
    ],
)
def test_impossible_settings_are_refused_by_name(values, word):
    with pytest.raises(SettingsError, match=word) as error:
        PhantomSettings.checked(**values)
    assert error.value.exit_code == 2
