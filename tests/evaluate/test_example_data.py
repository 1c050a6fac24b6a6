"""Every row of a file is an example or a named problem, whatever people put into files."""

from __future__ import annotations

import csv
import gc
import gzip
import hashlib
import io
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.errors import InputError, MissingExtraError
from clucert.evaluate.columns import DataSource
from clucert.evaluate.data import file_digest, load_examples
from clucert.evaluate.plan import make_plan
from clucert.evaluate.readers import open_table
from clucert.evaluate.runconfig import load_config

SENTIMENT = ("negative", "positive")
NUMBERINGS = ({"0": "negative", "1": "positive"},)
GOOD = "text,label\ngood,positive\nbad,negative\n"


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return write


def load(path, labels=SENTIMENT, normalise=None, need_labels=True, numberings=NUMBERINGS, **options):
    return load_examples(
        DataSource(path, **options),
        labels=labels,
        normalise=normalise,
        need_labels=need_labels,
        numberings=numberings,
    )


def rows(data):
    return [(e.id, e.text, e.label) for e in data.examples]


BOTH = [("2", "good", "positive"), ("3", "bad", "negative")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", GOOD),
        ("a.CSV", "\ufeff" + GOOD),
        ("a.csv", GOOD.replace("\n", "\r\n")),
        ("a.csv", GOOD.replace("\n", "\r")),
        ("a.csv", GOOD.rstrip()),
        ("a.csv.gz", GOOD),
        ("a.tsv", GOOD.replace(",", "\t")),
        ("a.csv", 'label,"text",x\npositive,"good",1\nNEGATIVE,bad,\n'),
        ("a.csv", "Sentence,Label\ngood,1\nbad,0\n"),
        ("a.csv", " question , answer \ngood,1.0\nbad,0.0\n".replace("1.0", "1").replace("0.0", "0")),
        ("a.jsonl", '\n{"prompt":"good","label":1}\r\n{"prompt":"bad","label":0}\r\n'),
        ("a.ndjson", '\n{"text":"good","label":1.0}\n{"text":"bad","label":"Negative"}'),
        ("a.jsonl.gz", '\ufeff\n{"text":"good","label":"1"}\n{"text":"bad","label":" negative "}\n\n'),
    ],
)
def test_the_same_rows_from_every_format(write, name, content):
    data = load(write(name, content))
    assert rows(data) == BOTH
    assert data.skipped == ()


field = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12).map(lambda t: "x" + t)


@settings(deadline=None)
@given(st.lists(field, min_size=1, max_size=8), st.sampled_from(["csv", "tsv"]), st.sampled_from(["\r\n", "\n"]))
def test_quoted_texts_survive_and_lines_are_those_of_an_editor(tmp_path_factory, texts, kind, ending):
    out = io.StringIO()
    # this writer leaves a lone carriage return unquoted where it does not end lines
    quoting = csv.QUOTE_ALL if ending == "\n" else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter="," if kind == "csv" else "\t", lineterminator=ending, quoting=quoting)
    writer.writerow(["text", "label"])
    starts = []
    for text in texts:
        starts.append(1 + len(io.StringIO(out.getvalue(), newline="").readlines()))
        writer.writerow([text, "positive"])
    path = tmp_path_factory.mktemp("d") / f"a.{kind}"
    path.write_bytes(out.getvalue().encode())
    assert rows(load(str(path), quoted=True)) == [(str(n), t, "positive") for n, t in zip(starts, texts, strict=True)]


@settings(deadline=None)
@given(st.lists(field, min_size=1, max_size=8))
def test_any_text_survives_in_json_lines(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("d") / "a.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": 0}, ensure_ascii=False) + "\n" for t in texts), "utf-8")
    assert [e.text for e in load(str(path)).examples] == texts


MALFORMED = [
    ("a.csv", "text,label\ngood,1\nbad\n", 3, "1 fields where the header names 2"),
    ("a.csv", "text,label\ngood,1\na,b,0\n", 3, "3 fields where the header names 2"),
    ("a.csv", 'text,label\n"go\nod",1\n\nbad,so\n', 5, "label 'so' is none of 'negative', 'positive'"),
    ("a.csv", "text,label\ngood,1\nbad,0.5\n", 3, "label '0.5' is none of"),
    ("a.csv", "text,label\ngood,1\n  ,0\n", 3, "'text' is empty"),
    ("a.csv", "text,label\ngood,1\nbad,\n", 3, "no label"),
    ("a.csv", "text,label\ngood,1\nba\x00d,0\n", 3, "NUL"),
    ("a.csv", b"text,label\ngood,1\nba\xffd,0\n", 3, "not UTF-8"),
    ("a.csv", b"text,label\ngood,1\nbad,\xff\n", 3, "not UTF-8"),
    ("a.csv", 'text,label\ngood,1\n"bad,0\nmore,1\n', 3, "read up to line 4; is a quote left open?"),
    ("a.csv", 'text,label\ngood,1\n"bad"x,0\n', 3, "',' expected after '\"'"),
    ("a.csv", b"text,label\ngood,1\nbad \x96 dull,0\n", 3, "not UTF-8: --encoding cp1252 reads it"),
    ("a.csv", b"text,label\ngood,1\nbad \x81 dull,0\n", 3, "not UTF-8: --encoding latin-1 reads it"),
    ("a.csv", "id,text,label\n1,good,1\n1,bad,0\n", 3, "id '1' was that of"),
    ("a.csv", "id,text,label\n1,good,1\n,bad,0\n", 3, "no usable 'id'"),
    ("a.jsonl", '{"text":"good","label":1}\n\n{"text":"bad","label":0\n', 3, "no JSON"),
    ("a.jsonl", '{"text":"good","label":1}\n\n["bad", 0]\n', 3, "a JSON array where an object is wanted"),
    ("a.jsonl", '{"text":"good","label":1}\n\n{"label":0}\n', 3, "no 'text'"),
    ("a.jsonl", '{"text":"good","label":1}\n\n{"text":"bad"}\n', 3, "no 'label'"),
    ("a.jsonl", '{"text":"good","label":1}\n\n{"text":"bad","label":null}\n', 3, "no label"),
    ("a.jsonl", '{"text":"good","label":1}\n\n{"text":5,"label":0}\n', 3, "'text' is a int, not a string"),
    ("a.jsonl", '{"text":"good","label":1}\n\n{"text":"b","label":[0]}\n', 3, "a label that is a list"),
    ("a.jsonl", '{"text":"good","label":1}\n\n{"text":"b","label":true}\n', 3, "label 'True' is none of"),
    ("a.jsonl", '{"text":"good","label":1}\n\n{"text":"\\ud800","label":0}\n', 3, "not UTF-8"),
    ("a.jsonl", '{"text":"good","label":1}\n\n' + "[" * 200_000 + "\n", 3, "no JSON"),
]


@pytest.mark.parametrize(("name", "content", "line", "problem"), MALFORMED)
def test_a_malformed_row_is_named_and_skipped_only_when_asked(write, name, content, line, problem):
    path = write(name, content)
    with pytest.raises(InputError) as error:
        load(path)
    said = str(error.value)
    assert said.startswith(f"{path}:{line}: ")
    assert problem in said
    assert "\n" not in said
    data = load(path, skip_malformed=True)
    assert len(data.examples) == 1
    assert [p.where for p in data.skipped] == [f"{path}:{line}"]
    assert problem in data.skipped[0].problem


def test_rows_after_a_malformed_one_keep_their_line_and_id(write):
    path = write("a.csv", 'text,label\n"a\n1",x\n"b"y,0\ngood,1\n')
    data = load(path, skip_malformed=True)
    assert rows(data) == [("5", "good", "positive")]
    assert [p.where.rpartition(":")[2] for p in data.skipped] == ["2", "4"]


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("a.csv", "", {}, "is empty"),
        ("a.csv", "\n\n", {}, "is empty"),
        ("a.jsonl", "", {}, "no column 'text'"),
        ("a.csv", "text,label\n", {}, "holds no example"),
        ("a.csv", "text,label\nx,?\n", {"skip_malformed": True}, "holds no example (1 malformed rows left out)"),
        ("a.csv", "review,label\nx,1\n", {"text_column": "reviews"}, "no column 'reviews': did you mean 'review'?"),
        ("a.csv", "review,label\nx,1\n", {}, "no column 'text' or 'sentence' or 'question' or 'prompt'"),
        ("a.csv", "text,labels\nx,1\n", {}, "did you mean 'labels'?"),
        ("a.csv", "text,label\nx,1\n", {"id_column": "key"}, "no column 'key'"),
        ("a.csv", "text,label\nx,1\n", {"extra_columns": ("source",)}, "no column 'source'"),
        ("a.csv", "text;label\nx;1\n", {}, "the file seems to be separated by semicolons"),
        ("a.csv", "text,text,label\nx,y,1\n", {}, "names 'text' twice"),
        ("a.csv", '"text"x,label\nx,1\n', {}, ":1: the header is malformed"),
        ("a.csv", GOOD.encode("utf-16"), {}, "is UTF-16: --encoding utf-16 reads it"),
        ("a.json", '[{"text":"good","label":1}]', {}, "write one object a line instead"),
        ("a.json", '[\n{"text":"good","label":1}\n]', {}, "write one object a line instead"),
        ("a.txt", GOOD, {}, "no known ending"),
        ("a", GOOD, {}, "no known ending"),
        ("a.csv", GOOD, {"limit": 0}, "limit must be at least 1"),
        ("a.csv", GOOD, {"sample": -1}, "sample must be at least 1"),
    ],
)
def test_what_is_wrong_with_a_file(write, name, content, options, said):
    with pytest.raises(InputError) as error:
        load(write(name, content), **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_not_there_or_not_files(tmp_path, write):
    with pytest.raises(InputError, match="no such file"):
        load(str(tmp_path / "a.csv"))
    with pytest.raises(InputError, match="is a folder"):
        load(str(tmp_path))
    broken = Path(write("a.csv.gz", "text,label\n" + "good,1\n" * 9000))
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        load(str(broken))
    Path(write("b.csv.gz", "")).write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        load(str(tmp_path / "b.csv.gz"))


def test_named_columns_ids_attack_and_extra(write):
    path = write("a.csv", "id,q,text,gold,attack,src\n7,good,no,pos,deepwordbug,x\n9,bad,no,NEG,,y\n")
    data = load(
        path,
        text_column="q",
        label_column="gold",
        extra_columns=("src",),
        label_map={"Pos": "positive", "neg": "NEGATIVE"},
    )
    assert rows(data) == [("7", "good", "positive"), ("9", "bad", "negative")]
    assert [dict(e.extra) for e in data.examples] == [{"src": "x", "attack": "deepwordbug"}, {"src": "y", "attack": ""}]
    by_line = load(
        path, text_column="q", label_column="gold", id_column="", label_map={"pos": "positive", "neg": "negative"}
    )
    assert [e.id for e in by_line.examples] == ["2", "3"]


def test_labels_that_are_digits_are_not_indices(write):
    data = load(write("a.csv", "text,label\na,1\nb,2\n"), labels=("1", "2", "3"))
    assert [e.label for e in data.examples] == ["1", "2"]


def test_data_without_labels_must_be_asked_for(write):
    path = write("a.csv", "text\ngood\n")
    with pytest.raises(InputError, match="no column 'label' or 'answer'"):
        load(path)
    assert rows(load(path, need_labels=False)) == [("2", "good", None)]


def test_gsm8k_gold_stands_after_its_mark(write):
    path = write(
        "a.jsonl",
        '{"question":"q1","answer":"2 + 2 = <<2+2=4>>4\\n#### 1,004"}\n{"question":"q2","answer":5}\n'
        '{"question":"q3","answer":"so\\n#### "}\n{"question":"q4","answer":"#### ???"}\n',
    )

    def normalise(answer):
        plain = answer.replace(",", "")
        return plain if plain.isdigit() else None

    data = load(path, labels=None, normalise=normalise, skip_malformed=True)
    assert [e.label for e in data.examples] == ["1004", "5"]
    assert ["names no answer" in p.problem for p in data.skipped] == [True, True]
    assert [e.label for e in load(path, labels=None, limit=2).examples] == ["1,004", "5"]


def test_tsv_without_quoting_as_glue_writes_it(write):
    path = write("a.tsv", 'sentence\tlabel\n" good\t1\nbad"\t0\n')
    assert [e.text for e in load(path, quoted=False).examples] == ['" good', 'bad"']
    with pytest.raises(InputError, match=r"a\.tsv:2: a quote that may or may not span lines"):
        load(path)
    assert [e.text for e in load(path, quoted=True).examples] == [" good\t1\nbad"]
    path = write("b.tsv", 'label\tsentence\n1\t"two\nlines"\n')
    assert [e.text for e in load(path).examples] == ["two\nlines"]


def test_limit_reads_no_further_than_it_must(write):
    path = write("a.csv", "text,label\n" + "good,1\n" * 100_000)
    with open_table(path) as table:
        list(itertools.islice(table.read(["text", "label"]), 100))
    # the rows after the limit are malformed, so reading them would raise
    path = write("b.csv", "text,label\n" + "good,1\n" * 100 + "bad\n" * 100_000)
    assert len(load(path, limit=100).examples) == 100
    with pytest.raises(InputError, match=":102: "):
        load(path, limit=101)


def test_limit_leaves_most_of_a_big_file_unread(write, monkeypatch):
    path = write("a.jsonl", '{"text":"good","label":1}\n' * 200_000)
    read = []
    real = json.loads
    monkeypatch.setattr(json, "loads", lambda line: read.append(1) or real(line))
    assert len(load(path, limit=100).examples) == 100
    assert len(read) <= 101


def test_samples_are_seeded_nested_ordered_and_uniform(write):
    path = write("a.csv", "text,label\n" + "".join(f"t{i},1\n" for i in range(20)))
    small, large = (load(path, sample=k, seed=3).examples for k in (5, 12))
    assert load(path, sample=5, seed=3).examples == small
    assert {e.id for e in small} <= {e.id for e in large}
    assert [int(e.id) for e in large] == sorted(int(e.id) for e in large)
    assert len(load(path, sample=99).examples) == 20
    assert {e.id for e in load(path, limit=4, sample=4).examples} == {"2", "3", "4", "5"}
    hits = np.zeros(20)
    for seed in range(400):
        for e in load(path, sample=5, seed=seed).examples:
            hits[int(e.id) - 2] += 1
    # each row is drawn with probability 1/4: 100 of 400 times, standard deviation 8.7
    assert np.all(np.abs(hits - 100) < 5 * 8.7)


def test_digests(write):
    a, b = write("a.csv", GOOD), write("b.tsv", GOOD.replace(",", "\t"))
    assert file_digest(a) == hashlib.sha256(GOOD.encode()).hexdigest()
    assert file_digest("hf:any") is None
    with pytest.raises(InputError, match="cannot be read"):
        file_digest(a + "x")
    assert load(a).digest == load(b).digest != load(a, limit=1).digest


@pytest.mark.parametrize(("module", "path"), [("pyarrow.parquet", "a.parquet"), ("datasets", "hf:a")])
def test_a_missing_extra_names_the_command(monkeypatch, module, path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'pip install "clucert\['):
        load(path)


class TestParquet:
    @pytest.fixture
    def arrow(self):
        return pytest.importorskip("pyarrow")

    def save(self, arrow, path, columns, **options):
        import pyarrow.parquet as parquet

        parquet.write_table(arrow.table(columns), path, **options)
        return str(path)

    def test_rows(self, arrow, tmp_path):
        path = self.save(
            arrow, tmp_path / "a.parquet", {"sentence": ["good", "bad"], "label": [1, 0], "idx": [5, 6], "n": [[1], []]}
        )
        assert rows(load(path)) == [("1", "good", "positive"), ("2", "bad", "negative")]
        assert [e.id for e in load(path, id_column="idx").examples] == ["5", "6"]

    def test_a_malformed_row_is_named(self, arrow, tmp_path):
        path = self.save(arrow, tmp_path / "a.parquet", {"text": ["good", None, "bad"], "label": [1, 0, None]})
        with pytest.raises(InputError, match=r"a\.parquet: row 2: 'text' is missing"):
            load(path)
        data = load(path, skip_malformed=True)
        assert rows(data) == [("1", "good", "positive")]
        assert [p.where.rpartition(" ")[2] for p in data.skipped] == ["2", "3"]

    def test_limit_stops_before_a_damaged_page(self, arrow, tmp_path):
        texts = [f"text {i} " + "x" * 50 for i in range(50_000)]
        file = tmp_path / "a.parquet"
        path = self.save(arrow, file, {"text": texts, "label": [0] * 50_000}, row_group_size=5000, compression="snappy")
        content = bytearray(file.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 20_000] = b"\xff" * 20_000
        file.write_bytes(content)
        assert len(load(path, limit=4000).examples) == 4000
        with pytest.raises(InputError, match=r"damaged after row \d+|cannot be read"):
            load(path)

    def test_no_parquet(self, arrow, tmp_path):
        (tmp_path / "a.parquet").write_text("nothing")
        with pytest.raises(InputError, match="not a Parquet file"):
            load(str(tmp_path / "a.parquet"))
        with pytest.raises(InputError, match="no such file"):
            load(str(tmp_path / "b.parquet"))

    def test_class_names_of_the_file_win_over_the_order_of_the_task(self, arrow, tmp_path):
        import pyarrow.parquet as parquet

        table = arrow.table({"text": ["good", "bad"], "label": [0, 1]})
        features = {"label": {"names": ["Positive", "Negative"], "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        parquet.write_table(table, tmp_path / "a.parquet")
        assert [e.label for e in load(str(tmp_path / "a.parquet")).examples] == ["positive", "negative"]


# the library leaves files for the garbage collector to close
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestHub:
    """The hub's library on folders of this machine; its downloads need a network that tests do not have."""

    @pytest.fixture
    def datasets(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        yield datasets
        gc.collect()

    def test_a_folder_of_files(self, datasets, tmp_path):
        folder = tmp_path / "set"
        folder.mkdir()
        (folder / "train.csv").write_text("sentence,label\nother,1\n")
        (folder / "test.csv").write_text(
            GOOD.replace("text", "sentence").replace("positive", "1").replace("negative", "0")
        )
        data = load(f"hf:{folder}@test")
        assert rows(data) == [("1", "good", "positive"), ("2", "bad", "negative")]
        assert len(load(f"hf:{folder}@test", limit=1).examples) == 1
        with pytest.raises(InputError, match=r"several splits: write hf:.*@SPLIT, one of train, test"):
            load(f"hf:{folder}")
        with pytest.raises(InputError, match="no split 'dev'"):
            load(f"hf:{folder}@dev")

    def test_a_saved_set_with_class_names(self, datasets, tmp_path):
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["POSITIVE", "NEGATIVE"])}
        )
        saved = datasets.Dataset.from_dict({"text": ["good", "bad", ""], "label": [0, 1, 0]}, features=features)
        saved.save_to_disk(str(tmp_path / "one"))
        datasets.DatasetDict(validation=saved).save_to_disk(str(tmp_path / "two"))
        for spec in (f"hf:{tmp_path}/one", f"hf:{tmp_path}/two", f"hf:{tmp_path}/two@validation"):
            data = load(spec, skip_malformed=True)
            assert [e.label for e in data.examples] == ["positive", "negative"]
            assert data.skipped[0].where == f"{spec}: row 3"

    def test_a_set_that_cannot_be_had(self, datasets, tmp_path):
        with pytest.raises(InputError, match="cannot be loaded"):
            load(f"hf:{tmp_path}/nothing")


REAL = Path(__file__).parents[3] / "shared" / "data"
"""Beside the repository; not part of it."""


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared data are not on this machine")
@pytest.mark.parametrize(
    ("name", "labels", "count"),
    [
        ("sst2", SENTIMENT, 910),
        ("agnews", ("world", "sports", "business", "sci/tech"), 2000),
        ("jailbreak", ("safe", "harmful"), 600),
        ("gsm8k", None, 660),
    ],
)
def test_the_data_of_the_study(name, labels, count):
    data = load(str(REAL / f"{name}.jsonl"), labels=labels)
    assert len(data.examples) == count
    if name == "gsm8k":
        by_answer = load(str(REAL / f"{name}.jsonl"), labels=None, label_column="answer")
        assert [e.label for e in by_answer.examples][:20] == [e.label for e in data.examples][:20]


KAGGLE = 'v1,v2,,,\r\nham,"Go until jurong point, crazy.. \xa3900",,,\r\nspam,WINNER!! claim \x96 now,more,,\r\n'
"""As Kaggle's spam.csv is written: columns without names, and bytes of Windows."""


def test_kaggles_spam_is_read(write):
    path = write("spam.csv", KAGGLE.encode("latin-1"))
    with pytest.raises(InputError, match=r"no column 'text'.*--text-column; columns: 'v1', 'v2', '3', '4', '5'"):
        load(path, labels=("spam", "ham"))
    named = {"text_column": "v2", "label_column": "v1"}
    with pytest.raises(InputError, match=r"spam.csv:2.*--encoding cp1252 reads it"):
        load(path, labels=("spam", "ham"), **named)
    data = load(path, labels=("spam", "ham"), encoding="cp1252", **named)
    assert rows(data) == [("2", "Go until jurong point, crazy.. £900", "ham"), ("3", "WINNER!! claim – now", "spam")]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8", "shift_jis", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.csv.gz"])
def test_a_file_is_read_in_its_encoding(write, encoding, name):
    text = "日本" if encoding == "shift_jis" else "café"
    content = f'{{"text": "{text}", "label": 1}}\n' if "json" in name else f"text,label\n{text},1\n"
    assert [e.text for e in load(write(name, content.encode(encoding)), encoding=encoding).examples] == [text]


@pytest.mark.parametrize("encoding", ["rot13", "zlib", "no-such", "base64", "", "utf-8\0"])
def test_what_is_no_encoding_is_refused(write, encoding):
    with pytest.raises(InputError, match="no such encoding"):
        load(write("a.csv", GOOD), encoding=encoding or " ")


def test_a_file_that_is_not_in_the_named_encoding_says_so(write):
    with pytest.raises(InputError, match=r"is not ascii: .*: --encoding utf-8 reads it"):
        load(write("a.csv", "text,label\ncafé,1\n"), encoding="ascii")


def test_without_a_header_columns_have_numbers(write):
    path = write("a.csv", "1,a good film,x\n0,a bad film,y\n")
    data = load(path, header=False, text_column="2", label_column="1")
    assert rows(data) == [("1", "a good film", "positive"), ("2", "a bad film", "negative")]
    with pytest.raises(InputError, match="--no-header"):
        load(path)


def test_without_a_header_the_first_row_is_read_as_the_others_are(write):
    ambiguous = write("a.tsv", '"a good\t1\nfilm"\t0\nbad\t0\n')
    with pytest.raises(InputError, match=r"a\.tsv:1: a quote that may or may not span lines"):
        load(ambiguous, header=False, text_column="1", label_column="2")
    spanning = write("b.tsv", '\n"a\ngood film"\t1\nbad\t0\n')
    data = load(spanning, header=False, text_column="1", label_column="2")
    assert [e.id for e in data.examples] == ["2", "4"]


def test_a_cell_may_be_of_any_size(write):
    data = load(write("a.csv", "text,label\n" + "good " * 60_000 + ",1\n"))
    assert len(data.examples[0].text) == 300_000


def test_rows_without_a_label_are_kept_apart(write):
    some = load(write("a.csv", "text,label\ngood,1\nbad,\n"), need_labels=False)
    assert [e.label for e in some.examples] == ["positive", None]
    assert some.notes == (
        "1 of 2 rows have no label: certified, not judged (columns label and answer; --label-column)",
    )
    none = load(write("b.csv", "text,id\ngood,a\n"), need_labels=False)
    assert [e.label for e in none.examples] == [None]
    with pytest.raises(InputError, match="did you mean 'target'"):
        load(write("c.csv", "text,target\ngood,1\n"), need_labels=False)
    assert load(write("c.csv", "text,target\ngood,1\n"), need_labels=False, label_column="").examples[0].label is None
    with pytest.raises(InputError, match=r"c\.csv:2: no label"):
        load(write("c.csv", "text,target\ngood,1\n"), label_column="")


def test_labels_may_be_written_as_the_tasks_own_synonyms(write):
    data = load_examples(
        DataSource(write("a.csv", "text,label\ngood,POS\nbad, neg \n")),
        labels=SENTIMENT,
        synonyms={"pos": "positive", "neg": "negative"},
    )
    assert [e.label for e in data.examples] == ["positive", "negative"]


def test_a_chat_of_one_message_is_its_text(write):
    chat = [{"role": "user", "content": "a good film"}]
    content = json.dumps({"messages": chat, "label": 1}) + "\n"
    assert load(write("a.jsonl", content)).examples[0].text == "a good film"
    quoted = json.dumps(chat).replace('"', '""')
    assert load(write("a.csv", f'messages,label\n"{quoted}",1\n')).examples[0].text == "a good film"
    for several, said in (
        ([*chat, *chat], "2 messages is no single text: --method blocks --unit turn"),
        ([{"role": "system", "content": "Be kind"}], "nothing but a system prompt"),
        ([], "0 messages"),
        ([{"role": "user", "content": ["part"]}], "1 messages"),
    ):
        with pytest.raises(InputError, match=said):
            load(write("b.jsonl", json.dumps({"messages": several, "label": 1}) + "\n"))


def test_gold_answers_of_a_pattern_may_be_written_as_the_vote(tmp_path):
    (tmp_path / "task.yaml").write_text('prompt: "Is it? {text}"\npattern: "Answer: (\\\\w+)"\nlabel_map: {1: yes}\n')
    (tmp_path / "d.csv").write_text("text,label\nx,yes\ny,We think. Answer: no\nz,1\n")
    config = {"task": str(tmp_path / "task.yaml"), "data": str(tmp_path / "d.csv"), "model": ["openai/test"]}
    plan = make_plan(load_config(None, {**config, "base_url": "http://localhost:1"}))
    assert [e.label for e in plan.dataset.examples] == ["yes", "no", "yes"]
