from __future__ import annotations

import json
import sys

import pytest

from osteon.cli.app import main


def test_list_shows_name_cost_and_summary(capsys: pytest.CaptureFixture[str], few_members: None) -> None:
    assert main(["models", "list"]) == 0
    captured = capsys.readouterr()
    for text in ("paper_cnn", "1,347,777", "3.84 G", "256", "timm/resnet18", "yolo/yolov8n-cls"):
        assert text in captured.out
    assert "the paper's nine-layer CNN" in captured.out + captured.err
    for method in ("network", "logistic", "adaboost", "yolo_detector", "Zhu et al. 2009"):
        assert method in captured.out


@pytest.mark.slow
def test_list_as_json_holds_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    from osteon.registry import MODELS

    assert main(["models", "list", "--json"]) == 0
    models = {item["name"]: item for item in json.loads(capsys.readouterr().out)["models"]}
    members = [family.name + member for family in MODELS.families() for member in family.facts["members"]]
    assert list(models) == [*MODELS.names(), *members]
    assert models["timm/resnet18"]["cost"]["parameters"] == 11_176_512 + 513
    assert 1_300_000 < models["yolo/yolov8n-cls"]["cost"]["parameters"] < 1_500_000
    assert models["paper_cnn"]["cost"]["trainable_parameters"] == 1_347_777
    assert models["paper_cnn"]["cost"]["multiply_adds"] == 3_837_468_928


@pytest.fixture
def few_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave one member to each family: measuring the rest takes seconds and shows nothing more."""
    from osteon.registry import MODELS

    for family, member in zip(MODELS.families(), ("resnet18", "yolov8n-cls"), strict=True):
        monkeypatch.setitem(family.facts, "members", [member])


def test_list_without_ultralytics_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, few_members: None
) -> None:
    from osteon.models.yolo import descriptions

    descriptions.cache_clear()
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    assert main(["models", "list"]) == 0
    captured = capsys.readouterr()
    assert "yolo/yolov8n-cls" in captured.out
    assert "osteon[yolo]" in captured.err
    assert "AGPL-3.0" in captured.err


def test_show_describes_any_member_of_a_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "timm/resnet34", "--size", "64", "--channels", "1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["stages"] == 5
    assert [option["name"] for option in shown["options"]] == ["pooling", "dropout", "drop_path", "widths"]
    assert shown["layers"][0]["name"] == "body.conv1"
    assert shown["layers"][0]["output"] == [64, 32, 32]
    assert shown["layers"][-1]["name"] == "head"


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_list_without_torch_still_names_the_models(
    flags: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "osteon.models.cost", raising=False)
    assert main(["models", "list", *flags]) == 0
    captured = capsys.readouterr()
    assert "paper_cnn" in captured.out
    assert "osteon[train]" in captured.out + captured.err
    if flags:
        assert json.loads(captured.out)["models"][0]["cost"] is None


def test_show_without_torch_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["models", "show", "paper_cnn"]) == 2
    assert "pip install 'osteon[train]'" in capsys.readouterr().err


def test_show_gives_cost_options_reasons_and_layers(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--set", "pools=early", "--set", "stem_stride=1", "--size", "256", "--channels", "1", "--json"]
    assert main(["models", "show", "paper_cnn", *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["channels"] == 1
    assert shown["cost"]["trainable_parameters"] == 1_347_201
    assert shown["cost"]["multiply_adds"] == 6_550_733_056 - 2 * 32 * 9 * 256**2
    pools = next(option for option in shown["options"] if option["name"] == "pools")
    assert (pools["value"], pools["default"]) == ("early", "late")
    assert all(option["reason"] for option in shown["options"])
    assert shown["layers"][0] == {
        "name": "blocks.0.conv",
        "kind": "Conv2d",
        "output": [32, 256, 256],
        "trainable_parameters": 288,
        "multiply_adds": 256**2 * 288,
    }


def test_show_prints_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "paper_cnn"]) == 0
    out = capsys.readouterr().out
    for text in ("1,347,777", "3.84 G", "Verma 2024", "stem_stride", "blocks.8.conv"):
        assert text in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "no model named 'nope'"),
        (["adaboost"], "adaboost is a method, not a network"),
        (["timm/resnet1x"], "no network named 'resnet1x'"),
        (["timm/hf-hub:some/where"], "no network named 'hf-hub:some/where'"),
        (["timm/resnet18", "--set", "architecture=vgg16"], "no option 'architecture'"),
        (["yolo/yolov8q-cls"], "no network named 'yolov8q-cls'"),
        (["paper_cnn", "--set", "poolz=early"], "no option 'poolz'"),
        (["paper_cnn", "--set", "pools"], "not of the form"),
        (["paper_cnn", "--set", "dropout=2"], "dropout: 2 is not possible"),
        (["paper_cnn", "--size", "16"], "too small"),
        (["paper_cnn", "--channels", "2"], "must be 1 or 3"),
    ],
)
def test_wrong_usage_is_one_clear_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
