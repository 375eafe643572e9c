"""Variants of searching, parsed from text."""

import pytest

from ragctl.errors import OptionError
from ragctl.evaluate.variant import Variant, expand_sweeps, parse_variant, variant_keys
from ragctl.search.option_spec import declared_options
from ragctl.search.options import SearchOptions
from ragctl.stores.base import Fusion, Rescore


def test_a_variant_changes_only_the_given_values() -> None:
    base = Variant.of(dense_weight=0.5)
    found = parse_variant("k=60, quantization=scalar,rescore=false", base, "against")
    assert found == Variant.of(dense_weight=0.5, k=60, quantization="scalar", rescore=False)
    assert found.options.fusion_for(0.7) == Fusion("rrf", 60, 0.5, 1.0, 100)
    assert found.options.rescoring == Rescore(rescore=False)
    assert Variant().options.rescoring is None
    assert str(found) == ("mode=hybrid, quantization=scalar, k=60, dense_weight=0.5, rescore=false")
    assert found.name == "hybrid quantization=scalar k=60 dense_weight=0.5 rescore=false"


def test_values_without_an_effect_are_dropped() -> None:
    values = {
        *(("mode", "dense"), ("dim", 64), ("fusion", "dbsf"), ("dense_weight", 0.5), ("k", 3)),
        *(("candidates", 500), ("quantization", "scalar"), ("rescore", True), ("ef", 200)),
        ("oversampling", 3.0),
    }
    full = Variant.of(**dict(values))
    assert full == Variant.of(
        mode="dense",
        dim=64,
        candidates=500,  # for diversity
        quantization="scalar",
        rescore=True,
        ef=200,
        oversampling=3.0,
    )
    assert full.changed(mode="sparse") == Variant.of(mode="sparse")
    assert Variant.of(k=3).changed(fusion="dbsf").options.k is None
    assert full.changed(rescore=False).options.oversampling is None
    assert full.changed(exact=True).options.ef is None
    own = full.changed(quantization="none")
    assert own == Variant.of(mode="dense", dim=64, candidates=500, quantization="none", ef=200)
    dense = Variant.of(mode="dense", dim=64, quantization="none")
    assert dense.relative_to(64, None) == Variant.of(mode="dense")
    assert dense.relative_to(64, "scalar") == Variant.of(mode="dense", quantization="none")
    assert full.relative_to(128, "scalar").quantization is None
    assert Variant.of(rescore=False).relative_to(64, None) == Variant()


def test_a_sweep_has_every_combination_once_and_the_base_first() -> None:
    found = expand_sweeps(["dim=64,128", "mode=dense,sparse"], Variant())
    assert found == [
        Variant(),
        Variant.of(mode="dense", dim=64),
        Variant.of(mode="sparse"),  # the same at both dimensions
        Variant.of(mode="dense", dim=128),
    ]


def test_the_keys_are_those_of_the_stored_form_and_the_tunable_options() -> None:
    tunable = [each.name for each in declared_options(SearchOptions) if each.spec.tunable]
    assert variant_keys() == ("dim", "quantization", *tunable)
    assert set(Variant().values()) == set(variant_keys())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dims=64", "keys: dim, quantization, mode"),
        ("limit=64", "keys: dim, quantization, mode"),
        ("dim", "write KEY=VALUE"),
        ("dim=", "a whole number"),
        ("dim=64,abc", "a whole number"),
        ("dim=0", "a whole number"),
        ("dim=²", "a whole number"),
        ("k=-1", "a whole number"),
        ("dense_weight=nan", "not a number from"),
        ("dense_weight=0", "not a number from"),
        ("dense_weight=x", "not a number"),
        ("mode=both", "not one of hybrid"),
        ("fusion=max", "not one of rrf"),
        ("quantization=int8", "not one of none, scalar"),
        ("rescore=maybe", "not one of true"),
        ("exact=1", "not one of true"),
        ("dense_weight=" + ",".join(str(n) for n in range(2, 70)), "64 at most"),
    ],
)
def test_invalid_sweeps_are_refused(text: str, why: str) -> None:
    with pytest.raises(OptionError, match=why) as caught:
        expand_sweeps([text], Variant())
    assert caught.value.option == "sweep"


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(OptionError, match="all its values at once"):
        expand_sweeps(["k=1", "k=2"], Variant())
    with pytest.raises(OptionError, match="against: 'k=1,k=2' has k twice"):
        parse_variant("k=1,k=2", Variant(), "against")
