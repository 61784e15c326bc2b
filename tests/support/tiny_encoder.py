"""A sentence encoder of a few thousand random weights: real files in the real format, made in a second, no download."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from router_core.bundle import CalibrationSpec, RouterBundle, ScorerSpec, SentenceEncoderSpec, save_bundle
from router_training.routers.encoder import load_encoder
from router_training.routers.encoder_export import export_encoder

WORDS = [
    "add",
    "sort",
    "reverse",
    "json",
    "what",
    "is",
    "the",
    "of",
    "numbers",
    "words",
    "object",
    "please",
    "now",
    "answer",
]
WORDS += ["zero", "one", "two", "three"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
DIMENSIONS = 16


def make_tiny_encoder(folder: Path, seed: int = 0) -> Path:
    """Write a one-layer BERT with a word vocabulary to `folder`; sentence-transformers adds mean pooling itself."""
    vocabulary = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=DIMENSIONS,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=32,
            )
        )
    model.save_pretrained(folder)
    return folder


def export_tiny_encoder(folder: Path, scratch: Path, *, max_tokens: int = 16) -> SentenceEncoderSpec:
    """Export a tiny encoder to `folder`, as a bundle would carry it in float32; `scratch` is for its torch weights."""
    encoder = load_encoder(str(make_tiny_encoder(scratch)), max_tokens=max_tokens, truncation_side="left")
    report = export_encoder(encoder, folder, ["sort the words", "add one"], lambda vectors: vectors.argmax(axis=1))
    return report.spec.model_copy(update={"precision": "float32"})


def bundle_with(path: Path, encoder: SentenceEncoderSpec, **options: Any) -> RouterBundle:
    """Write and load a bundle of three models that scores the vectors of `encoder`; no vector is novel to it."""
    size = encoder.dimensions
    return save_bundle(
        path,
        models=("llm-a", "llm-b", "llm-c"),
        encoder=encoder,
        scorer=ScorerSpec(name="routerdc"),
        calibration=CalibrationSpec(method="temperature"),
        tensors={
            "scorer.llm_embeddings": np.eye(3, size, dtype=np.float32),
            "calibration.slope": np.ones(3, dtype=np.float32),
            "calibration.bias": np.zeros(3, dtype=np.float32),
            "novelty.centroids": np.zeros((1, size), dtype=np.float32),
            "novelty.scale": np.zeros(size, dtype=np.float32),
            "novelty.bounds": np.array([1.0, 2.0], dtype=np.float32),
            "novelty.base_rates": np.full(3, 0.5, dtype=np.float32),
        },
        **options,
    )
