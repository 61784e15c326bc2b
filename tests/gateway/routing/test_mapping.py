from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.routing.mapping import check_mapping, map_models
from router_core.bundle import AbstentionSpec, CalibrationSpec
from tests.gateway.routing.samples import bundle, mapped, model, settings


def test_names_are_mapped_and_pinned_only_models_left_out() -> None:
    assert map_models([*mapped("a", "b"), model("extra")], ["llm-b", "llm-a", "llm-c"]) == {"llm-a": "a", "llm-b": "b"}


def test_a_name_that_the_bundle_does_not_have_is_refused_with_its_path() -> None:
    with pytest.raises(ConfigError, match=r"models\[1\]\.router_name: .*'llm-b'; it has: llm-a, llm-c"):
        map_models(mapped("a", "b"), ["llm-a", "llm-c"])


def test_a_pool_without_any_mapped_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="router_name on at least one model; the bundle has: llm-a"):
        map_models([model("a")], ["llm-a"])


def test_validate_prints_who_is_who(tmp_path: Path) -> None:
    saved = bundle(tmp_path / "bundle")
    models = [{"name": "a", "router_name": "llm-a"}, {"name": "pinned"}, {"name": "c", "router_name": "llm-c"}]
    lines = check_mapping(settings(models, {"bundle": str(saved.path)}))
    assert lines == [
        f"policy learned: bundle {saved.digest[:12]} ranks 3 models",
        "  llm-a -> a",
        "  llm-c -> c",
        "  pinned-only: pinned (no router_name)",
        "  warning: the bundle's model 'llm-b' is nobody's router_name, so it is never chosen",
        "  abstention: the bundle has thresholds for no default model; the router never abstains, as "
        "router.default_model is a",
    ]


@pytest.mark.parametrize(
    ("router", "told"),
    [
        ({}, "for the default models a, c; where the gain over a is below 0.1250, a answers"),
        ({"abstain_to": "b"}, "for the default models a, c; where the gain over a is below 0.1250, b answers"),
        (
            {"default_model": "b"},
            "for the default models a, c; the router never abstains, as router.default_model is b",
        ),
        ({"abstain": False}, "for the default models a, c; the router never abstains, as router.abstain is false"),
    ],
)
def test_validate_says_where_the_router_abstains(tmp_path: Path, router: dict[str, object], told: str) -> None:
    gains = {"llm-a": 0.125, "llm-c": 0.25}
    abstention = AbstentionSpec(max_regret=0.01, thresholds=gains, coverage=gains)
    saved = bundle(tmp_path / "bundle", abstention=abstention)
    models = [{"name": name, "router_name": f"llm-{name}"} for name in "abc"]
    assert check_mapping(settings(models, {"bundle": str(saved.path)} | router))[-1].endswith(told)


def test_validate_warns_of_models_with_too_few_probes(tmp_path: Path) -> None:
    calibration = CalibrationSpec(method="temperature", pending=("llm-a", "llm-b"))
    saved = bundle(tmp_path / "bundle", calibration=calibration)
    lines = check_mapping(settings([{"name": "a", "router_name": "llm-a"}], {"bundle": str(saved.path)}))
    assert [line for line in lines if "probes" in line] == [
        "  warning: the bundle has too few probes of 'llm-a', so it is chosen only where no other may answer"
    ]


def test_validate_refuses_a_bundle_that_cannot_be_used(tmp_path: Path) -> None:
    saved = bundle(tmp_path / "bundle")
    (saved.path / "router.safetensors").write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"router\.bundle: .*router\.safetensors.* truncated or altered"):
        check_mapping(settings([{"name": "a", "router_name": "llm-a"}], {"bundle": str(saved.path)}))


def test_validate_refuses_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"router\.bundle: .*no such router bundle"):
        check_mapping(settings([{"name": "a", "router_name": "llm-a"}], {"bundle": str(tmp_path / "none")}))


def test_other_policies_need_no_bundle() -> None:
    lines = check_mapping(settings([{"name": "a"}], {"policy": "fixed", "fixed_model": "a"}))
    assert lines == ["policy fixed: no bundle is read"]
