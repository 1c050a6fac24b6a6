"""The library's front door, with a plain Python function as the base classifier."""

from __future__ import annotations

import json

import pytest

import clucert
from clucert.errors import InputError, UsageError
from clucert.protocols import Classifier


def sentiment(texts: list[str]) -> list[str]:
    return ["positive" if any(w in t for w in ("good", "great", "fine")) else "negative" for t in texts]


def test_five_lines_give_a_certificate_object():
    result = clucert.certify_callable(
        "a good and great and fine film", sentiment, ["positive", "negative"], method="ranmask", mask_rate="0.5"
    )
    assert result.prediction == "positive"
    assert isinstance(result.radius, clucert.Radius)
    assert result.cost.samples == 1100
    assert "answer      positive" in str(result)
    assert "ranmask, 1,100 samples, 95 %" in str(result)


def test_a_smoothed_classifier_is_a_classifier():
    smoothed = clucert.smooth(sentiment, ["positive", "negative"], method="ranmask", mask_rate="0.5")
    assert isinstance(smoothed, Classifier)
    votes = smoothed.predict(["a good great fine film", "a dull and empty film"]).votes
    assert votes == ("positive", "negative")


def test_the_default_method_runs_on_a_callable(tmp_path):
    smoothed = clucert.smooth(sentiment, ["positive", "negative"], samples=20, certify_samples=60, show_samples=2)
    result = smoothed.certify("a good film with a charming story and wonderful acting")
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(result.document()))
    back = clucert.load(path)
    assert back.certificate == result.certificate
    assert back.radius == result.radius
    assert result.certificate.settings.method == "clucert"


def test_wrong_options_are_usage_errors():
    with pytest.raises(UsageError, match="alpha"):
        clucert.smooth(sentiment, ["a", "b"], alpha=7)
    with pytest.raises(UsageError, match="bogus"):
        clucert.smooth(sentiment, ["a", "b"], bogus=1)
    with pytest.raises(InputError):
        clucert.smooth(sentiment, ["a"])
    with pytest.raises(InputError, match="not bytes"):
        clucert.smooth(sentiment, ["a", "b"], method="ranmask").certify(b"x")  # type: ignore[arg-type]


def test_a_certificate_names_the_users_own_entries(tmp_path):
    names = []
    for line in ("film\tfeature", "film\tflick"):
        (tmp_path / "own.tsv").write_text(line)
        smoothed = clucert.smooth(sentiment, ["positive", "negative"], lexicon=["classes", str(tmp_path / "own.tsv")])
        names.append(smoothed.smoother.settings.lexicon)
    assert all(name.startswith("classes+user:") for name in names)
    assert names[0] != names[1]


def test_public_names_exist_and_are_few():
    assert len(clucert.__all__) <= 24
    for name in clucert.__all__:
        assert getattr(clucert, name) is not None
    with pytest.raises(AttributeError):
        _ = clucert.no_such_name


def test_one_string_is_not_taken_for_a_list_of_letters():
    with pytest.raises(InputError, match="list of texts"):
        clucert.smooth(lambda texts: ["a"] * len(texts), ["a", "b"], method="ranmask").predict("one text")
