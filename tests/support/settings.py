"""Settings for tests that care about one section only."""

from pathlib import Path
from typing import Any

import yaml

from gateway.settings import Settings


def settings_document(**sections: dict[str, Any]) -> dict[str, Any]:
    """A whole document with two models, `alpha` and `beta`, and policy fixed; `sections` replace its own."""
    replicas = [{"base_url": "http://127.0.0.1:1/v1"}]
    return {
        "version": 1,
        "models": [{"name": "alpha", "replicas": replicas}, {"name": "beta", "replicas": replicas}],
        "router": {"policy": "fixed", "fixed_model": "alpha", "default_model": "alpha"},
    } | sections


def make_settings(**sections: dict[str, Any]) -> Settings:
    """The document as Settings."""
    return Settings.model_validate(settings_document(**sections))


def write_settings(path: Path, **sections: dict[str, Any]) -> Path:
    """The document as a YAML file at `path`."""
    path.write_text(yaml.safe_dump(settings_document(**sections)), encoding="utf-8")
    return path
