"""Settings as words say them."""

import pytest

from ragctl.errors import UsageError
from ragctl.evaluate.setting import Setting, parse, swept
from ragctl.stores.base import Fusion, Rescore


def test_a_setting_changes_only_what_it_says() -> None:
    base = Setting(weight=0.5)
    found = parse("k=60, quantization=scalar,rescore=false", base, "--against")
    assert found == Setting(weight=0.5, k=60, quantization="scalar", rescore=False)
    assert found.fused(Fusion(dense=0.7, prefetch=50)) == Fusion("rrf", 60, 0.5, 1.0, 50)
    assert found.rescored() == Rescore(rescore=False)
    assert Setting().rescored() is None
    assert str(found) == "mode=hybrid, weight=0.5, k=60, quantization=scalar, rescore=false"


def test_what_makes_no_difference_is_left_out() -> None:
    full = Setting("dense", 64, "rrf", 0.5, 3, 50, "scalar", rescore=True, oversampling=3.0)
    assert full.plain() == Setting(
        "dense", 64, quantization="scalar", rescore=True, oversampling=3.0
    )
    assert parse("mode=sparse", full, "").plain() == Setting("sparse")
    assert parse("mode=hybrid,fusion=dbsf", full, "").plain().k is None
    assert parse("rescore=false", full, "").plain().oversampling is None
    own = parse("quantization=none", full, "").plain()
    assert own == Setting("dense", 64, quantization="none")
    assert own.beside(64, None) == Setting("dense")
    assert own.beside(64, "scalar") == Setting("dense", quantization="none")
    assert full.plain().beside(128, "scalar").quantization is None
    assert Setting(rescore=False).beside(64, None) == Setting()


def test_a_sweep_has_every_combination_once_and_the_base_first() -> None:
    found = swept(["dim=64,128", "mode=dense,sparse"], Setting())
    assert found == [
        Setting(),
        Setting("dense", 64),
        Setting("sparse"),  # at one size as at the other
        Setting("dense", 128),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dims=64", "keys: mode, dim"),
        ("dim", "write KEY=VALUE"),
        ("dim=", "a whole number"),
        ("dim=64,abc", "a whole number"),
        ("dim=0", "a whole number"),
        ("dim=²", "a whole number"),
        ("k=-1", "a whole number"),
        ("weight=nan", "a number from"),
        ("weight=0", "a number from"),
        ("mode=both", "one of hybrid"),
        ("fusion=max", "one of rrf"),
        ("quantization=int8", "one of none, scalar"),
        ("rescore=maybe", "one of true"),
        ("weight=" + ",".join(str(n) for n in range(1, 70)), "64 at most"),
    ],
)
def test_rubbish_in_a_sweep(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        swept([text], Setting())


def test_an_axis_twice() -> None:
    with pytest.raises(UsageError, match="all its values at once"):
        swept(["k=1", "k=2"], Setting())
    with pytest.raises(UsageError, match="says k twice"):
        parse("k=1,k=2", Setting(), "--against")
