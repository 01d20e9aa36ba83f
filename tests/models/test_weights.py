from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import InputError
from osteon.models.factory import create
from osteon.models.network import Network
from osteon.models.weights import Names, load_file, read_state, strip_prefix, take

WANTED = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2), "b.num_batches_tracked": torch.tensor(7)}


def names(*ignored: str) -> Names:
    return Names(WANTED, ignored=lambda name: name in ignored)


def small() -> Network:
    options = {"widths": [4, 4], "pools": [1]}
    return create(ModelSettings(options=options), PreprocessSettings(channels=1), StoreSettings(size=32))


def state() -> dict[str, Tensor]:
    return {"a.weight": torch.ones(2, 3), "a.bias": torch.ones(2)}


def test_tensors_are_taken_by_name_and_counters_may_lack() -> None:
    taken = take(state(), names(), where="file")
    assert taken.keys() == WANTED.keys()
    assert torch.equal(taken["a.weight"], torch.ones(2, 3))
    assert taken["b.num_batches_tracked"] == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a.bias": None}, r"1 missing \(a.bias\)"),
        ({"a.bias": torch.ones(3)}, r"1 of another shape \(a.bias 3 instead of 2\)"),
        ({"c.weight": torch.ones(1)}, r"1 unknown \(c.weight\)"),
        ({f"c{n}": torch.ones(1) for n in range(9)}, r"9 unknown \(c0, c1, c2, c3 and 5 more\)"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Tensor | None], message: str) -> None:
    changed = {name: item for name, item in (state() | change).items() if item is not None}
    with pytest.raises(InputError, match=message) as raised:
        take(changed, names(), where="file.pth")
    assert raised.value.where == "file.pth"


def test_a_left_out_tensor_may_be_of_any_shape() -> None:
    assert "head.weight" not in take(state() | {"head.weight": torch.ones(9)}, names("head.weight"), where="file")


def test_other_names_are_taken_in_order_where_every_tensor_agrees() -> None:
    wanted = Names({"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)}, ignored=lambda name: False)
    renamed = {"x.weight": torch.ones(2, 3), "x.bias": torch.ones(2)}
    taken = take(renamed, wanted, where="file")
    assert torch.equal(taken["a.weight"], renamed["x.weight"])
    classifier = {"fc.weight": torch.ones(5, 2), "fc.bias": torch.ones(5)}
    assert take(renamed | classifier, wanted, where="file").keys() == wanted.wanted.keys()
    for other in (
        {"x.bias": torch.ones(2), "x.weight": torch.ones(2, 3)},
        {"x.weight": torch.ones(2, 3), "x.running_mean": torch.ones(2)},
        renamed | {"y.weight": torch.ones(1)},
        {"x.weight": torch.ones(2, 3)},
    ):
        with pytest.raises(InputError, match="2 missing"):
            take(other, wanted, where="file")


@pytest.mark.parametrize("prefix", ["network.", "module.", "model.", "_orig_mod."])
def test_a_wrappers_prefix_is_stripped(prefix: str) -> None:
    assert strip_prefix({f"{prefix}a": torch.ones(1), f"{prefix}b": torch.ones(1)}).keys() == {"a", "b"}
    assert strip_prefix({f"{prefix}a": torch.ones(1), "b": torch.ones(1)}).keys() == {f"{prefix}a", "b"}


def test_a_networks_own_weights_go_round(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = small(), small()
    torch.save(
        {"state_dict": {f"network.{name}": item for name, item in first.state_dict().items()}}, tmp_path / "a.ckpt"
    )
    load_file(second, tmp_path / "a.ckpt")
    assert all(torch.equal(item, second.state_dict()[name]) for name, item in first.state_dict().items())


def test_an_incomplete_file_changes_nothing(tmp_path: Path) -> None:
    network = small()
    before = {name: item.clone() for name, item in network.state_dict().items()}
    incomplete = {name: item + 1 for name, item in network.state_dict().items() if not name.startswith("head")}
    torch.save(incomplete, tmp_path / "part.pth")
    with pytest.raises(InputError, match=r"2 missing \(head.weight, head.bias\)"):
        load_file(network, tmp_path / "part.pth")
    assert all(torch.equal(item, before[name]) for name, item in network.state_dict().items())


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.safetensors").write_text("not")
    for name in ("evil.pth", "list.pth", "text.safetensors", "absent.pth"):
        with pytest.raises(InputError) as raised:
            read_state(tmp_path / name)
        assert name in str(raised.value.where)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello", "it is no file of torch's"),
        (b"", "Ran out of input|it is no file of torch's"),
        (pickle.dumps({"state_dict": Path("a")}), "something else than tensors and plain values"),
        ("cut off", "no weights that can be read safely"),
    ],
)
def test_why_a_file_cannot_be_read_is_one_line_without_advice_to_execute_it(
    tmp_path: Path, content: bytes | str, reason: str, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, str):
        torch.save({"weight": torch.zeros(1000)}, path)
        content = path.read_bytes()[:-500]
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as raised:
        read_state(path)
    for word in ("weights_only", "PyTorch 2.6", "trusted", "\n"):
        assert word not in raised.value.what
    assert [item for item in recwarn.list if "pickle protocol" in str(item.message)] == []
