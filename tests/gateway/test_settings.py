"""The document: what is accepted, and the one line that says what is not."""

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.settings_file import load_settings, redacted
from tests.support.settings import make_settings, settings_document, write_settings

REPLICA = {"base_url": "http://127.0.0.1:1/v1"}


def refusal(tmp_path: Path, **sections: Any) -> str:
    path = write_settings(tmp_path / "gateway.yaml", **sections)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_whole_document(tmp_path: Path) -> None:
    path = write_settings(
        tmp_path / "gateway.yaml",
        models=[{"name": "alpha", "replicas": [{**REPLICA, "api_key": "${KEY}"}]}],
        access={"require_keys": True},
        control={"file": "control.json"},
        router={"policy": "learned", "bundle": "bundle", "default_model": "alpha"},
    )
    settings = load_settings(path, {"KEY": "sk-1"})
    key = settings.models[0].replicas[0].api_key
    assert key is not None
    assert key.get_secret_value() == "sk-1"
    assert settings.control.file == tmp_path / "control.json"
    assert settings.router.bundle == tmp_path / "bundle"


def test_the_control_document_stands_beside_the_file(tmp_path: Path) -> None:
    settings = load_settings(write_settings(tmp_path / "pool.yaml"), {})
    assert settings.control.file == tmp_path / "pool.control.json"


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"serverr": {}}, "serverr: unknown key"),
        ({"server": {"prot": 1}}, "server.prot: unknown key"),
        (
            {"models": [{"name": "alpha", "replicas": [{**REPLICA, "pirce": 1}]}]},
            "models[0].replicas[0].pirce: unknown",
        ),
        ({"server": {"port": 70000}}, "server.port: "),
        ({"upstream": {"idle_timeout_s": 0}}, "upstream.idle_timeout_s: "),
        ({"version": 2}, "version: "),
        ({"models": []}, "models: "),
        ({"models": [{"name": "a b", "replicas": [REPLICA]}]}, "models[0].name: "),
        ({"models": [{"name": "alpha", "replicas": [{"base_url": "ftp://x"}]}]}, "models[0].replicas[0].base_url: "),
        ({"models": [{"name": "alpha", "replicas": [{"base_url": "http://u:p@x/v1"}]}]}, "credentials do not belong"),
        ({"models": [{"name": "auto", "replicas": [REPLICA]}]}, "router.aliases: "),
        ({"models": [{"name": "alpha", "replicas": [REPLICA]}] * 2}, "names must differ: ['alpha']"),
        (
            {"router": {"policy": "fixed", "fixed_model": "nobody", "default_model": "alpha"}},
            "router.fixed_model: 'nobody'",
        ),
        ({"router": {"policy": "learned", "default_model": "alpha"}}, "router.bundle: "),
        ({"router": {"policy": "weighted", "default_model": "alpha"}}, "router.weights: "),
        ({"rules": [{"name": "r", "when": {}, "model": "alpha"}]}, "rules[0].when: "),
        ({"rules": [{"name": "r", "when": {"pattern": "("}, "model": "alpha"}]}, "not a regular expression"),
        ({"rules": [{"name": "r", "when": {"key": "k"}, "model": "nobody"}]}, "rules[0].model: 'nobody'"),
        ({"server": {"host": "0.0.0.0"}}, "access.require_keys"),  # noqa: S104 - what is refused
        ({"control": {"poll_interval_s": 3}}, "control.poll_interval_s: "),
        (
            {"access": {"require_keys": True}, "server": {"workers": 2}},
            "server.workers: ",
        ),
        ({"decisions": {"path": "log", "max_files": 2}, "server": {"workers": 2}}, "decisions.max_files: "),
        ({"decisions": {"ask": "all"}}, "decisions.ask: "),
        ({"cache": {"keys": ["0123456789abcdef"]}}, "cache.keys: "),
        ({"cache": {"keys": ["me"]}}, "cache.keys"),
        (
            {"cache": {"keys": ["anonymous"]}, "access": {"require_keys": True}},
            "cache.keys: ",
        ),
        ({"cache": {"max_bytes": 2000, "max_entry_bytes": 2001}}, "cache.max_entry_bytes: "),
        (
            {"models": [{"name": "alpha", "replicas": [{**REPLICA, "api_key": "${NOT_SET}"}]}]},
            "variable NOT_SET is not",
        ),
    ],
)
def test_refusals_name_the_key(tmp_path: Path, sections: dict[str, Any], told: str) -> None:
    assert told in refusal(tmp_path, **sections)


PRICE = {"input_per_million_tokens": 1, "output_per_million_tokens": 2}
KEYED = {"require_keys": True}
KEY_ID = "0123456789abcdef"


def pool(alpha: dict[str, Any], beta: dict[str, Any], gamma: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Three models, of which policy `weighted` knows alpha and beta."""
    options = {"alpha": alpha, "beta": beta, "gamma": gamma or {}}
    return [{"name": name, "replicas": [REPLICA], **more} for name, more in options.items()]


def weighted(**router: Any) -> dict[str, Any]:
    return {"policy": "weighted", "weights": {"alpha": 1, "beta": 1}, "default_model": "alpha", **router}


@pytest.mark.parametrize(
    ("models", "router", "access", "told"),
    [
        (
            pool({"price": PRICE}, {}),
            weighted(quality=0.5),
            {},
            "models[1].price: router.quality weighs costs by router.cost_unit: price, so every model that is routed "
            "to needs it; 'beta' has none",
        ),
        (
            pool({"price": PRICE}, {"seconds_per_token": 0.1}),
            weighted(cost_unit="seconds"),
            {**KEYED, "dials": {KEY_ID: {"max_cost": 1}}},
            f"models[0].seconds_per_token: access.dials.{KEY_ID} weighs costs by router.cost_unit: seconds",
        ),
        (pool({}, {}), weighted(), {**KEYED, "dials": {KEY_ID: {"quality": 0.5}}}, f"access.dials.{KEY_ID} weighs"),
        (
            pool({"price": PRICE}, {"price": PRICE}),
            weighted(quality=0.5, abstain_to="gamma"),
            {},
            "models[2].price: router.quality",
        ),
        (pool({}, {}), weighted(quality=1.5), {}, "router.quality: "),
        (pool({}, {}), weighted(cost_unit="euros"), {}, "router.cost_unit: "),
        (pool({}, {}), weighted(expected_answer_tokens=0), {}, "router.expected_answer_tokens: "),
        (pool({}, {}), weighted(abstain_to="nobody"), {}, "router.abstain_to: 'nobody' is not one of models[].name"),
        (pool({"seconds_per_token": 0}, {}), weighted(), {}, "models[0].seconds_per_token: "),
        (pool({}, {}), weighted(), {"dials": {KEY_ID: {}}}, "access.dials: are per key, so set access.require_keys"),
        (pool({}, {}), weighted(), {**KEYED, "dials": {"me": {}}}, "access.dials.me"),
        (pool({}, {}), weighted(), {**KEYED, "dials": {KEY_ID: {"price": 1}}}, f"access.dials.{KEY_ID}.price: unknown"),
        (pool({}, {}), weighted(), {**KEYED, "dials": {KEY_ID: {"max_cost": -1}}}, f"access.dials.{KEY_ID}.max_cost: "),
    ],
)
def test_a_dial_needs_the_costs_of_every_model_that_is_routed_to(
    tmp_path: Path, models: Any, router: Any, access: Any, told: str
) -> None:
    assert told in refusal(tmp_path, models=models, router=router, access=access)


def test_a_dial_needs_no_costs_of_pinned_only_models_or_where_it_weighs_none() -> None:
    dials = {KEY_ID: {"quality": 0.5, "max_cost": 1.0}}
    priced = pool({"price": PRICE}, {"price": PRICE})
    made = make_settings(models=priced, router=weighted(quality=0.0), access={**KEYED, "dials": dials})  # type: ignore[arg-type]
    assert made.access.dials[KEY_ID].max_cost == 1.0
    make_settings(router=weighted(), access={**KEYED, "dials": {KEY_ID: {"quality": 1.0}}})


@pytest.mark.parametrize("text", ["- 1\n", "", "version: [1\n", "\x00", "version: 1\nversion"])
def test_what_is_no_document(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"gateway\.yaml") as caught:
        load_settings(path, {})
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path / "none.yaml", {})


def test_secrets_are_hidden_wherever_settings_are_shown() -> None:
    settings = make_settings(
        models=[{"name": "alpha", "replicas": [{**REPLICA, "api_key": "sk-secret"}]}],  # type: ignore[arg-type]
        state={"redis_url": "redis://:sk-secret@127.0.0.1:1/0"},
    )
    for shown in (redacted(settings), repr(settings), str(settings)):
        assert "sk-secret" not in shown
    assert settings_document()["models"][0]["name"] in redacted(settings)
