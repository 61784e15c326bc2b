"""The bundle's names of models against the gateway's: who is who, who is pinned-only, whom nobody serves."""

from collections.abc import Mapping, Sequence

from gateway.errors import ConfigError
from gateway.settings import ModelSettings, Settings
from router_core.bundle import RouterBundle, load_bundle
from router_core.errors import BundleError


def map_models(models: Sequence[ModelSettings], bundle_models: Sequence[str]) -> dict[str, str]:
    """Bundle name -> public name, for the models that are served.

    Raises ConfigError if a router_name is not in the bundle, or if no model has one.
    """
    known = ", ".join(bundle_models)
    for index, model in enumerate(models):
        if model.router_name is not None and model.router_name not in bundle_models:
            raise ConfigError(
                f"models[{index}].router_name: the bundle has no model {model.router_name!r}; it has: {known}"
            )
    public = {model.router_name: model.name for model in models if model.router_name is not None}
    if not public:
        raise ConfigError(f"models: policy learned needs router_name on at least one model; the bundle has: {known}")
    return public


def public_thresholds(bundle: RouterBundle, public: Mapping[str, str]) -> dict[str, float]:
    """Least gains by public name, for the default models that the bundle can abstain to and that are served."""
    abstention = bundle.manifest.abstention
    thresholds = {} if abstention is None else abstention.thresholds
    return {public[name]: gain for name, gain in thresholds.items() if name in public}


def check_mapping(settings: Settings) -> list[str]:
    """Lines for `gateway validate`: the policy, bundle models and who serves them, pinned-only models, abstention.

    Raises ConfigError for a bundle that cannot be used or a router_name that it does not have.
    """
    router = settings.router
    if router.policy != "learned" or router.bundle is None:
        return [f"policy {router.policy}: no bundle is read"]
    try:
        bundle = load_bundle(router.bundle)
    except BundleError as error:
        raise ConfigError(f"router.bundle: {error}") from error
    return _lines(settings, bundle, map_models(settings.models, bundle.models))


def _lines(settings: Settings, bundle: RouterBundle, public: dict[str, str]) -> list[str]:
    lines = [f"policy learned: bundle {bundle.digest[:12]} ranks {len(bundle.models)} models"]
    lines += [f"  {name} -> {public[name]}" for name in bundle.models if name in public]
    lines += [f"  pinned-only: {model.name} (no router_name)" for model in settings.models if model.router_name is None]
    lines += [
        f"  warning: the bundle's model {name!r} is nobody's router_name, so it is never chosen"
        for name in bundle.models
        if name not in public
    ]
    lines += [
        f"  warning: the bundle has too few probes of {name!r}, so it is chosen only where no other may answer"
        for name in bundle.manifest.calibration.pending
        if name in public
    ]
    return [*lines, _abstention_line(settings, bundle, public)]


def _abstention_line(settings: Settings, bundle: RouterBundle, public: Mapping[str, str]) -> str:
    default, gains = settings.router.default_model, public_thresholds(bundle, public)
    can = f"for the default models {', '.join(gains)}" if gains else "for no default model"
    target = settings.router.abstain_to or default
    line = f"  abstention: the bundle has thresholds {can}"
    if not settings.router.abstain:
        return f"{line}; the router never abstains, as router.abstain is false"
    if default not in gains:
        return f"{line}; the router never abstains, as router.default_model is {default}"
    return f"{line}; where the gain over {default} is below {gains[default]:.4f}, {target} answers"
