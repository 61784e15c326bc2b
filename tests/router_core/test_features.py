import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router_core.errors import BundleError
from router_core.features import SURFACE_DIMENSIONS, FeaturesEncoder, cut, ngram_counts, surface
from router_core.manifest import FeaturesSpec
from router_core.tensors import Tensors

BUCKETS, DIRECTIONS, MAX_BYTES = 512, 3, 96
DIMENSIONS = DIRECTIONS + SURFACE_DIMENSIONS
LENGTHS = (2, 3, 4)

# Any string Python can hold: halves of surrogate pairs too, which st.text() leaves out.
ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text("ab 中\n\ud800", max_size=300)


def slow_ngrams(content: bytes, buckets: int, ngrams: tuple[int, ...]) -> dict[int, float]:
    """The definition, one n-gram and one byte at a time; its constants are the format and must never change."""
    data = b" " + bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in content) + b" "
    counts: Counter[int] = Counter()
    for length in set(ngrams):
        for start in range(len(data) - length + 1):
            value = data[start] * 0x9E3779B1 % 2**32
            for place in range(2, length + 1):
                value = value * 0x01000193 % 2**32 ^ data[start + place - 1] * (0x85EBCA6B + 2 * place) % 2**32
            value = (value ^ value >> 15) * 0x2C1B3C6D % 2**32
            counts[(value ^ value >> 12) % buckets] += 1
    return {bucket: 1 + math.log(count) for bucket, count in sorted(counts.items())}


def spec(**changes: object) -> FeaturesSpec:
    given: dict[str, object] = {"dimensions": DIMENSIONS, "buckets": BUCKETS, "ngrams": LENGTHS, "max_bytes": MAX_BYTES}
    return FeaturesSpec.model_validate(given | changes)


def random_tensors() -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return {
        "encoder.projection": rng.normal(size=(BUCKETS, DIRECTIONS)).astype(np.float32),
        "encoder.idf": rng.uniform(1, 9, BUCKETS).astype(np.float32),
        "encoder.mean": rng.normal(size=DIMENSIONS).astype(np.float32),
        "encoder.scale": rng.uniform(0.5, 2, DIMENSIONS).astype(np.float32),
    }


def encoder() -> FeaturesEncoder:
    return FeaturesEncoder(spec(), Tensors(random_tensors(), "f", {"D": DIMENSIONS}))


def slow_vector(text: str) -> list[float]:
    """The vector from the module's definition, in double precision, without numpy's help."""
    tensors = {name: tensor.tolist() for name, tensor in random_tensors().items()}
    content, _ = cut(text, MAX_BYTES)
    weights = slow_ngrams(content, BUCKETS, LENGTHS)
    idf, projection = tensors["encoder.idf"], tensors["encoder.projection"]
    length = math.sqrt(sum((weight * idf[bucket]) ** 2 for bucket, weight in weights.items()))
    directions = [
        sum(weight / length * projection[bucket][k] for bucket, weight in weights.items()) for k in range(DIRECTIONS)
    ]
    values = directions + surface(content).tolist()
    return [
        (value - mean) * scale
        for value, mean, scale in zip(values, tensors["encoder.mean"], tensors["encoder.scale"], strict=True)
    ]


@given(
    content=st.binary(max_size=60) | st.text("abAB ").map(str.encode),
    buckets=st.sampled_from([256, 512, 8192, 1 << 20]),
    ngrams=st.lists(st.integers(2, 8), min_size=1, max_size=4).map(tuple),
)
def test_ngrams_are_counted_as_defined(content: bytes, buckets: int, ngrams: tuple[int, ...]) -> None:
    found, weights = ngram_counts(content, buckets, ngrams)
    expected = slow_ngrams(content, buckets, ngrams)
    assert found.tolist() == list(expected)
    np.testing.assert_allclose(weights, list(expected.values()), rtol=1e-6)
    assert weights.dtype == np.float32


def test_ngrams_of_a_known_text_stay_where_they_are() -> None:
    # " a", "aa" and "a ". A release that moves them can read no older bundle.
    assert ngram_counts(b"aa", 256, (2,))[0].tolist() == [34, 104, 252]


def test_a_repeated_ngram_weighs_one_plus_the_logarithm_of_its_count() -> None:
    found, weights = ngram_counts(b"a" * 11, 1 << 20, (2,))
    assert len(found) == 3
    np.testing.assert_allclose(sorted(weights), [1, 1, 1 + math.log(10)], rtol=1e-6)


def test_a_count_beyond_the_table_weighs_as_much_as_its_end() -> None:
    _, weights = ngram_counts(b"a" * 70_000, 1 << 20, (2,))
    np.testing.assert_allclose(weights.max(), 1 + math.log(65_535), rtol=1e-6)


def test_a_text_too_short_for_its_ngrams_has_none() -> None:
    found, weights = ngram_counts(b"a", 256, (4, 5))
    assert (found.size, weights.size) == (0, 0)


def test_case_is_put_aside_in_ngrams_but_shows_on_the_surface() -> None:
    assert (
        ngram_counts(b"What IS it?", 512, LENGTHS)[0].tolist() == ngram_counts(b"what is it?", 512, LENGTHS)[0].tolist()
    )
    assert surface(b"What IS it?").tolist() != surface(b"what is it?").tolist()


@pytest.mark.parametrize(
    ("text", "feature", "share"),
    [
        ("12ab", 0, 2 / 5),
        ("AbC.", 1, 2 / 5),
        ("a b\tc", 2, 2 / 6),
        ("a\nb", 3, 1 / 4),
        ("why??", 6, 2 / 6),
        ("no!", 7, 1 / 4),
        ("[{x}]", 10, 4 / 6),
        ("a<=b", 11, 2 / 5),
        ("1+1", 12, 1 / 4),
        ("$x$", 16, 2 / 4),
        ("é", 17, 2 / 3),
        ("中", 17, 2 / 4),
        ("中", 18, 1 / 4),
        ("あ", 17, 2 / 4),
        ("あ", 18, 1 / 4),
        ("안녕", 19, 2 / 7),
        ("🙂", 19, 1 / 5),
    ],
)
def test_a_surface_feature_is_the_root_of_a_share(text: str, feature: int, share: float) -> None:
    assert surface(text.encode())[feature] == pytest.approx(math.sqrt(share))


def test_the_surface_ends_with_the_length_and_the_mean_line() -> None:
    features = surface(b"ab\ncd\n" + b"x" * 93)
    assert features.shape == (SURFACE_DIMENSIONS,)
    assert features[-2:].tolist() == pytest.approx([math.log(100), math.log(100 / 3)])


@pytest.mark.parametrize(
    ("text", "content", "lost"),
    [
        ("", b"", 0.0),
        ("a" * 8, b"a" * 8, 0.0),
        ("abcdefghij", b"abcdghij", 0.2),
        ("ab" + "-" * 96 + "yz", b"ab----yz", 0.92),
        ("中" * 4, "中".encode() + "中".encode()[:1] + "中".encode()[2:] + "中".encode(), 1 - 8 / 12),
        ("中" * 40, "中".encode() + "中".encode()[:1] + "中".encode()[2:] + "中".encode(), 1 - 8 / 120),
    ],
)
def test_a_long_text_is_read_at_both_ends(text: str, content: bytes, lost: float) -> None:
    kept, left_out = cut(text, 8)
    assert kept == content
    assert left_out == pytest.approx(lost)


def test_an_odd_limit_is_used_up() -> None:
    assert cut("abcdefghij", 7)[0] == b"abcghij"


@given(text=ANY_TEXT, max_bytes=st.integers(64, 200))
def test_cutting_keeps_what_fits_and_tells_the_rest(text: str, max_bytes: int) -> None:
    whole = text.encode("utf-8", "replace")
    kept, lost = cut(text, max_bytes)
    assert len(kept) == min(len(whole), max_bytes)
    assert kept[: max_bytes // 2] == whole[: max_bytes // 2]
    assert whole.endswith(kept[len(kept) // 2 :])
    assert 0 <= lost < 1
    assert (lost == 0) == (len(whole) <= max_bytes)


def test_a_text_of_one_script_loses_the_same_share_however_it_is_counted() -> None:
    # 64 characters are few enough to be encoded whole, 65 are not.
    assert cut("中" * 65, 64)[1] == pytest.approx(cut("中" * 64, 64)[1], abs=0.01)


@given(text=ANY_TEXT)
@example("")
@example("\ud83d half a pair \udc00")
@example("\0" * 500)
@example("从下列选项中选出正确答案" * 30)
def test_any_string_has_a_finite_vector(text: str) -> None:
    vectors, lost = encoder().encode([text])
    assert vectors.shape == (1, DIMENSIONS)
    assert vectors.dtype == lost.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert 0 <= lost[0] <= 1


@given(text=ANY_TEXT)
def test_the_vector_is_what_the_module_says(text: str) -> None:
    np.testing.assert_allclose(encoder().encode([text])[0][0], slow_vector(text), rtol=1e-4, atol=1e-4)


@given(texts=st.lists(ANY_TEXT, max_size=4))
def test_a_batch_gives_what_each_text_gives_alone(texts: list[str]) -> None:
    vectors, lost = encoder().encode(texts)
    assert vectors.shape == (len(texts), DIMENSIONS)
    for row, text in enumerate(texts):
        alone, lost_alone = encoder().encode([text])
        np.testing.assert_array_equal(vectors[row], alone[0])
        assert lost[row] == lost_alone[0]


def test_an_encoder_may_be_shared_by_threads() -> None:
    shared = encoder()
    texts = [f"question {number} of 中文 and English, {number * 37}?" for number in range(200)]
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda text: shared.encode([text])[0][0], texts))
    np.testing.assert_array_equal(np.stack(rows), shared.encode(texts)[0])


def test_an_encoder_leaves_its_tensors_alone() -> None:
    tensors = random_tensors()
    FeaturesEncoder(spec(), Tensors(tensors, "f", {"D": DIMENSIONS})).encode(["one", "two" * 99])
    for name, tensor in random_tensors().items():
        np.testing.assert_array_equal(tensors[name], tensor)


def test_ngrams_without_any_weight_give_no_direction() -> None:
    tensors = random_tensors() | {"encoder.idf": np.zeros(BUCKETS, dtype=np.float32)}
    tensors["encoder.mean"] = np.zeros(DIMENSIONS, dtype=np.float32)
    vectors, _ = FeaturesEncoder(spec(), Tensors(tensors, "f", {"D": DIMENSIONS})).encode(["anything"])
    assert vectors[0, :DIRECTIONS].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("projection", np.ones((BUCKETS + 1, DIRECTIONS)), r"encoder.projection: shape is \(513, 3\)"),
        (
            "projection",
            np.ones((BUCKETS, DIRECTIONS + 1)),
            "f: encoder.projection: 4 directions and 22 surface features make 26 figures, not 25",
        ),
        ("idf", np.ones(BUCKETS - 1), r"encoder.idf: shape is \(511,\), expected \(H\) with H = 512"),
        ("mean", np.ones(DIMENSIONS - 1), r"encoder.mean: shape is \(24,\), expected \(D\) with D = 25"),
        ("scale", np.full(DIMENSIONS, np.inf), "encoder.scale: holds NaN or infinity"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(name: str, tensor: npt.NDArray[np.float64], message: str) -> None:
    tensors = random_tensors() | {f"encoder.{name}": tensor.astype(np.float32)}
    with pytest.raises(BundleError, match=message):
        FeaturesEncoder(spec(), Tensors(tensors, "f", {"D": DIMENSIONS}))
