from pathlib import Path

import numpy as np
import pytest
import torch

from router_training.routers.encoder import SentenceEncoder, load_encoder
from router_training.routers.vectors import FrozenVectors, TrainedVectors

QUESTIONS = ("one add two", "three sort zero please", "numbers reverse words")


@pytest.fixture
def encoder(tiny_encoder: Path) -> SentenceEncoder:
    return load_encoder(str(tiny_encoder), max_tokens=16, truncation_side="left")


def test_frozen_vectors_are_handed_out_by_row_and_have_nothing_to_train() -> None:
    vectors = FrozenVectors(np.arange(6, dtype=np.float32).reshape(3, 2))
    assert vectors.of_rows(np.array([2, 0, 2])).tolist() == [[4, 5], [0, 1], [4, 5]]
    vectors.train(True)
    assert list(vectors.parameters()) == []
    assert vectors.state() == {}
    vectors.restore({})


def test_trained_vectors_are_the_encoders_own(encoder: SentenceEncoder) -> None:
    vectors = TrainedVectors(encoder, QUESTIONS)
    vectors.train(False)
    rows = np.array([2, 0])
    with torch.no_grad():
        mine = vectors.of_rows(rows).numpy()
    np.testing.assert_allclose(mine, encoder.embed([QUESTIONS[row] for row in rows]), atol=1e-5)


def test_trained_vectors_carry_a_gradient_to_the_encoder(encoder: SentenceEncoder) -> None:
    vectors = TrainedVectors(encoder, QUESTIONS)
    vectors.of_rows(np.array([0, 1])).pow(3).sum().backward()
    assert any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in vectors.parameters())


def test_a_copy_of_the_encoder_can_be_put_back(encoder: SentenceEncoder) -> None:
    vectors = TrainedVectors(encoder, QUESTIONS)
    vectors.train(False)
    before, kept = encoder.embed(QUESTIONS), vectors.state()
    with torch.no_grad():
        for parameter in vectors.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert not np.allclose(encoder.embed(QUESTIONS), before, atol=1e-3)
    vectors.restore(kept)
    np.testing.assert_allclose(encoder.embed(QUESTIONS), before, atol=1e-6)


def test_half_a_surrogate_pair_can_be_trained_on(encoder: SentenceEncoder) -> None:
    vectors = TrainedVectors(encoder, ["one \ud800 two"])
    assert torch.isfinite(vectors.of_rows(np.array([0]))).all()
