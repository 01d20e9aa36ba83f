from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import InputError, SettingsError
from osteon.models import hybrid as hybrid_module
from osteon.models.cost import measure
from osteon.models.explain_grid import cell_grids
from osteon.models.factory import create
from osteon.models.hybrid import Hybrid, MapHead, SmoothMaximum
from osteon.models.network import Network
from osteon.models.weights import load_file

SMALL = {"widths": [8, 8, 16], "pools": [1, 2], "stem_stride": 1}
SIDE = 48


def _hybrid(**options: Any) -> Hybrid:
    return _made("hybrid", {"trunk_options": SMALL, **options})  # type: ignore[return-value]


def _made(name: str, options: dict[str, Any]) -> Network:
    torch.manual_seed(3)
    channels = PreprocessSettings(channels=1)
    return create(ModelSettings(name=name, options=options), channels, StoreSettings(size=SIDE))


def _images(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


def test_pooled_it_is_number_by_number_its_trunk() -> None:
    hybrid, trunk = _hybrid().eval(), _made("paper_cnn", SMALL).eval()
    for name, weight in trunk.state_dict().items():
        assert torch.equal(hybrid.state_dict()[f"trunk.{name}"], weight)
    assert torch.equal(hybrid(_images()), trunk(_images()))


@pytest.mark.parametrize("detail", [1, 3])
def test_the_map_is_as_fine_as_asked(detail: int) -> None:
    hybrid = _hybrid(detail=detail).eval()
    features = hybrid.features(_images())
    cells = hybrid.localise(features)
    assert cells.shape == (2, 1, features.shape[2] * detail, features.shape[3] * detail)
    assert torch.sigmoid(cells).mean().item() == pytest.approx(0.01, abs=0.005)


def test_cells_of_the_map_lie_where_their_features_do() -> None:
    head = MapHead(4, 8, 2).eval()
    features = torch.zeros(1, 4, 6, 6)
    before = head(features)
    features[0, :, 4, 1] = 50
    changed = (head(features) - before).abs()[0, 0] > 1e-6
    rows, columns = changed.nonzero().unbind(1)
    assert (rows.min().item(), rows.max().item()) == (6, 11)
    assert (columns.min().item(), columns.max().item()) == (0, 5)


@pytest.mark.parametrize("head", ["map", "both"])
def test_the_logit_rises_with_the_map(head: str) -> None:
    hybrid = _hybrid(head=head).eval()
    features = hybrid.features(_images())
    before = hybrid.classify(features)
    with torch.no_grad():
        assert hybrid.mapper.draw.bias is not None
        hybrid.mapper.draw.bias += 2
    torch.testing.assert_close(hybrid.classify(features) - before, torch.full((2,), 2.0))


def test_both_is_the_sum_of_trunk_and_map() -> None:
    both, of_map = _hybrid(head="both").eval(), _hybrid(head="map").eval()
    features = both.features(_images())
    torch.testing.assert_close(both.classify(features), both.trunk.classify(features) + of_map.classify(features))


def test_the_smooth_maximum_lies_between_mean_and_maximum() -> None:
    pool = SmoothMaximum()
    cells = torch.randn(3, 1, 5, 7)
    offset = pool(torch.zeros(1, 1, 4, 4))
    pooled = pool(cells) - offset
    torch.testing.assert_close(pooled, (4 * cells).exp().mean(dim=(1, 2, 3)).log() / 4)
    torch.testing.assert_close(offset, torch.tensor([math.log(99.0)]), msg="of the prior it is 0")
    assert (pooled > cells.mean(dim=(1, 2, 3))).all()
    assert (pooled < cells.amax(dim=(1, 2, 3))).all()
    torch.testing.assert_close(pool(torch.full((1, 1, 9, 9), 3.0)) - offset, torch.tensor([3.0]))
    cells[0, 0, 2, 2] = 1e4
    assert torch.isfinite(pool(cells)).all()


def test_it_says_of_its_trunk_what_the_trunk_says(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr("osteon.models.paper_cnn.PaperCNN.load_default_weights", lambda self: loaded.append(self))
    monkeypatch.setattr("osteon.models.paper_cnn.PaperCNN.mean", 12.0)
    hybrid = _hybrid()
    assert hybrid.standardisation(PreprocessSettings()).mean == hybrid.mean == 12.0
    assert hybrid.standardisation(PreprocessSettings(mean=3.0)).mean == 3.0
    hybrid.load_default_weights()
    assert loaded == [hybrid.trunk]
    assert hybrid.stages() == hybrid.trunk.stages()
    weights, trunks = hybrid.class_weights(), hybrid.trunk.class_weights()
    assert weights is not None
    assert trunks is not None
    assert torch.equal(weights, trunks)
    assert _hybrid(head="both").class_weights() is None


def test_the_maps_parameters_are_what_the_pooled_logit_does_not_need() -> None:
    for head, reached in (("pooled", False), ("map", True)):
        hybrid = _hybrid(head=head)
        hybrid(_images()).sum().backward()
        assert hybrid.map_is_classified is reached
        assert [item.grad is not None for item in hybrid.map_parameters()] == [reached] * 6


def test_its_cost_can_be_measured() -> None:
    plain, pooled, mapped = (
        measure(item, SIDE, 1) for item in (_made("paper_cnn", SMALL), _hybrid(), _hybrid(head="map"))
    )
    assert pooled.multiply_adds == plain.multiply_adds
    assert mapped.multiply_adds > plain.multiply_adds
    assert pooled.parameters > plain.parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trunk": "hybrid", "trunk_options": {}}, "draws a map itself"),
        ({"trunk": "resnet-of-nowhere"}, "no model named"),
        ({"trunk_options": {"depth": 3}}, "paper_cnn has no option 'depth'"),
        ({"head": "mean"}, "head: 'mean' is not possible"),
        ({"detail": 0}, "detail: 0 is not possible"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        _hybrid(**options)


def test_any_registered_network_can_be_the_trunk() -> None:
    trunk = _made("timm/resnet18", {})
    hybrid = _made("hybrid", {"trunk": "timm/resnet18"}).eval()
    assert isinstance(hybrid, Hybrid)
    assert type(hybrid.trunk) is type(trunk)
    assert isinstance(hybrid.mapper.reduce, nn.Conv2d)
    assert hybrid.localise(hybrid.features(_images())).shape[1] == 1


def test_the_map_tiles_the_image_where_the_trunks_places_do_not() -> None:
    """Unpadded pools leave the rim out; a place in the middle of the map still marks the middle of the image."""
    hybrid = _hybrid(trunk_options={**SMALL, "widths": [8] * 4, "pools": [1, 2, 3]}, detail=2).eval()
    grid = cell_grids(hybrid.trunk, SIDE, SIDE)[0]
    assert grid.first > SIDE / grid.cells / 2 + 1
    for place in range(grid.cells):
        seen = torch.zeros(1, 1, 2 * grid.cells, 2 * grid.cells)
        seen[..., 2 * place : 2 * place + 2, :] = 1
        cells = hybrid.straighten(seen)[0, 0, :, 0]
        middle = (cells * (torch.arange(len(cells)) + 0.5)).sum() / cells.sum() * SIDE / len(cells)
        if 0 < place < grid.cells - 1:
            assert middle.item() == pytest.approx(grid.first + place * grid.step, abs=1.5)
    assert hybrid.straighten(torch.full((1, 1, *hybrid.straighten.rows.shape), 0.4)).allclose(torch.tensor(0.4))
    other = torch.randn(1, 1, 3, 3)
    assert torch.equal(hybrid.straighten(other), other)


def test_it_starts_from_files_of_its_own_or_of_its_trunk(tmp_path: Path) -> None:
    trunk, whole = _made("paper_cnn", SMALL), _hybrid()
    with torch.no_grad():
        for parameter in (*trunk.parameters(), *whole.parameters()):
            parameter.fill_(0.25)
    torch.save(trunk.state_dict(), tmp_path / "trunk.pt")
    torch.save(whole.state_dict(), tmp_path / "whole.pt")
    hybrid = _hybrid()
    before = hybrid.mapper.look.weight.clone()
    load_file(hybrid, tmp_path / "trunk.pt")
    assert all((parameter == 0.25).all() for parameter in hybrid.trunk.parameters())
    assert torch.equal(hybrid.mapper.look.weight, before)
    load_file(hybrid, tmp_path / "whole.pt")
    assert all((parameter == 0.25).all() for parameter in hybrid.parameters())
    torch.save({"other": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="weights of another network"):
        load_file(hybrid, tmp_path / "other.pt")


LITE0 = {"trunk": "timm/tf_efficientnet_lite0"}


def _pyramid(size: int = 64, **options: Any) -> Hybrid:
    torch.manual_seed(3)
    settings = ModelSettings(name="hybrid", options={**LITE0, "finer": True, **options})
    made = create(settings, PreprocessSettings(channels=1), StoreSettings(size=size)).eval()
    assert isinstance(made, Hybrid)
    return made


def test_finer_maps_come_behind_the_last_ones_and_the_trunks_own_logit_does_not_see_them() -> None:
    hybrid = _pyramid()
    images = torch.randn(2, 1, 64, 64)
    features = hybrid.features(images)
    last = hybrid.trunk.features(images)
    assert last.shape == (2, 1280, 2, 2)
    assert features.shape == (2, 1280 + 4 * 112, 2, 2)
    assert torch.equal(features[:, :1280], last)
    assert torch.equal(hybrid.classify(features), hybrid.trunk(images))
    assert hybrid.localise(features).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("head", ["pooled", "both"])
def test_reading_at_once_gives_the_same_as_step_by_step(head: str) -> None:
    hybrid, images = _pyramid(head=head), torch.randn(2, 1, 64, 64)
    features = hybrid.features(images)
    logit, embedding, cells = hybrid.read(images)
    torch.testing.assert_close(logit, hybrid.classify(features))
    torch.testing.assert_close(embedding, hybrid.embedding(features))
    torch.testing.assert_close(cells, hybrid.localise(features))


def test_with_finer_maps_class_activation_maps_stay_exact_and_the_embedding_is_the_trunks() -> None:
    hybrid = _pyramid()
    features = hybrid.features(torch.randn(2, 1, 64, 64))
    weights = hybrid.class_weights()
    assert weights is not None
    assert isinstance(hybrid.trunk.head, nn.Linear)
    evidence = (features * weights[:, None, None]).sum(dim=1).mean(dim=(1, 2)) + hybrid.trunk.head.bias
    torch.testing.assert_close(evidence, hybrid.classify(features))
    torch.testing.assert_close(hybrid.embedding(features), features[:, :1280].mean(dim=(2, 3)))


def test_each_finer_place_draws_its_own_part_of_the_map() -> None:
    head = MapHead(4, 8, 4, finer=3).eval()
    fine = torch.zeros(1, 3, 12, 12)
    fine[0, :, 9, 2] = 50
    last = torch.zeros(1, 4, 6, 6)
    drawn = [head(last, item) for item in (0 * fine, fine)]
    rows, columns = ((drawn[1] - drawn[0]).abs()[0, 0] > 1e-6).nonzero().unbind(1)
    assert drawn[0].shape == (1, 1, 24, 24)
    assert (rows.min().item(), rows.max().item()) == (16, 21)
    assert (columns.min().item(), columns.max().item()) == (2, 7)


def test_finer_maps_learn_from_the_map_and_are_parameters_of_it() -> None:
    hybrid = _pyramid(head="both")
    hybrid(torch.randn(2, 1, 64, 64)).sum().backward()
    assert hybrid.mapper.refine is not None
    assert hybrid.mapper.refine.weight.grad is not None
    assert any(item is hybrid.mapper.refine.weight for item in hybrid.map_parameters())


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        ({"detail": 3}, 64, "even number of cells"),
        ({}, 80, "not twice its last ones"),
        ({"trunk": "paper_cnn", "trunk_options": SMALL}, SIDE, "shows no finer maps"),
    ],
)
def test_where_no_finer_maps_are_to_be_had_it_says_so(options: dict[str, Any], size: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        _pyramid(size, **options)


def test_trunks_made_alike_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    look = hybrid_module._last_map
    monkeypatch.setattr(hybrid_module, "_SEEN", {})
    monkeypatch.setattr(hybrid_module, "_last_map", lambda trunk: looks.append(trunk) or look(trunk))
    small = {"widths": [4, 8], "pools": [1]}
    made = [Hybrid(1, 64, trunk_options=small), Hybrid(1, 64, trunk_options=dict(small))]
    assert len(looks) == 1
    for other, size in (({**small, "widths": [4, 6]}, 64), ({**small, "pools": [1, 2]}, 64), (small, 32)):
        made.append(Hybrid(1, size, trunk_options=other))
    assert len(looks) == 4
    for network in made:
        features = network.trunk.features(torch.zeros(1, 1, network.input_size, network.input_size))
        assert network.channels == features.shape[1]
        assert len(network.straighten.rows) == features.shape[2] * network.mapper.detail
