"""The training queries as vectors: by the `features` encoder, fitted here, or by a sentence encoder as it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from router_core.bundle import EncoderSpec
from router_core.features import FeaturesEncoder, FloatArray
from router_core.tensors import Tensors
from router_training.routers.config import FEATURES, RouterTrainConfig
from router_training.routers.encoder import SentenceEncoder, load_encoder
from router_training.routers.feature_fitting import fit_features
from router_training.routers.methods.base import Floats
from router_training.routers.one_thread import one_thread


@dataclass(frozen=True)
class Encoded:
    """N training queries as vectors (N, D), and the encoder: its tensors for the bundle, or the neural model."""

    spec: EncoderSpec
    vectors: FloatArray
    tensors: dict[str, FloatArray] = field(default_factory=dict)
    model: SentenceEncoder | None = None


def encode_questions(config: RouterTrainConfig, questions: Sequence[str], weights_N: Floats | None = None) -> Encoded:
    """Fit or load the encoder and encode. Raises JobConfigError, DataError, BundleError."""
    if config.encoder == FEATURES:
        with one_thread():
            spec, tensors = fit_features(questions, weights_N=weights_N, seed=config.seed)
        encoder = FeaturesEncoder(spec, Tensors(tensors, "fitted encoder", {"D": spec.dimensions}))
        return Encoded(spec, encoder.encode(questions)[0], tensors)
    model = load_sentence_encoder(config)
    return Encoded(model.spec, model.embed(questions, progress=_bar), model=model)


def load_sentence_encoder(config: RouterTrainConfig) -> SentenceEncoder:
    """The neural encoder that the job names. Raises JobConfigError, BundleError."""
    return load_encoder(
        config.encoder,
        max_tokens=config.max_tokens,
        truncation_side=config.truncation_side,
        device=config.device,
        allow_pickle=config.train_encoder,
    )


def _bar(steps: Iterable[int]) -> Iterable[int]:
    bar: Iterable[int] = tqdm(steps, desc="embed", unit="batch", mininterval=1)
    return bar
