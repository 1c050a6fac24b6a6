"""The command as a user runs it: its two streams, its exit code; with a language model, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clucert import certificate_json as document
from tests.commands import Command, Ended, refused
from tests.models.fake_server import Reply, Request, completion, serving

TEXT = "The airline's response to the delayed flights was thoughtful and quick."
SMALL = ("--samples", "12", "--certify-samples", "24")


def clucert(*arguments: str, stdin: bytes = b"") -> Ended:
    """In a process of its own."""
    command = [sys.executable, "-m", "clucert", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=300, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "answers.sqlite")


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("certify", "", "--task", "sst2"), b"", ("no words",)),
        (("certify", " ... !", "--task", "sst2"), b"", ("no words",)),
        (("certify", "-", "--task", "sst2"), b"word " * 20_000, ("20,000 words", "cut it")),
        (("certify", "-", "--task", "sst2"), b"\xff\xfe", ("not UTF-8",)),
        (("certify", "x"), b"", ("--task",)),
        (("certify", "x", "--task", "sst3"), b"", ("did you mean 'sst2'",)),
        (("certify", "x", "--task", "sst2", "--model", "openia/gpt-4o"), b"", ("did you mean 'openai'",)),
        (("certify", "x", "--task", "sst2", "--model", "openai"), b"", ("openai/<model>",)),
        (("certify", "x", "--task", "sst2", "--method", "randmask"), b"", ("did you mean 'ranmask'",)),
        (("certify", "x", "--task", "sst2", "--mask-rate", "1.5"), b"", ("mask",)),
        (("certify", "x", "--task", "sst2", "--alpha", "2"), b"", ("--alpha",)),
        (("certify", "x", "--task", "sst2", "--method", "groups", "--mask-rate", "0.5"), b"", ("--mask-rate goes",)),
        (("certify", "x", "--task", "sst2", "--method", "groups", "--at-least", "2"), b"", ("--flag positive",)),
        (("certify", "x", "--task", "sst2", "--samples", "0"), b"", ("--samples",)),
        (("certify", "x", "--task", "sst2", "--clustering", "kmeens"), b"", ("did you mean 'kmeans'",)),
        (("certify", "x", "--task", "sst2", "--lexicon", "/no/such.tsv"), b"", ("/no/such.tsv",)),
        (("certify", "x", "--labels", "spam,ham", "--prompt", "/no/such"), b"", ("/no/such",)),
        (("certify", "x", "--labels", "spam,ham"), b"", ("--prompt",)),
        (("certify", "x", "--bogus"), b"", ("--bogus",)),
        (("certfy", "x"), b"", ("did you mean 'certify'",)),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, stdin, words, run_cli):
    refused(run_cli(*arguments, stdin=stdin), 2, *words)


def test_a_process_of_its_own_says_the_same():
    refused(clucert("certify", "-", "--task", "sst2", stdin=b"\xff\xfe"), 2, "not UTF-8")


@pytest.mark.parametrize("labels", ["spam", "spam,spam", "spam,", "spam,Spam"])
def test_a_wrong_label_list_is_refused(labels, tmp_path, run_cli):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{text} is")
    refused(run_cli("certify", "x", "--labels", labels, "--prompt", prompt), 2, "label")


def test_a_missing_key_is_named_and_no_other_provider_is_asked(run_cli, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    refused(run_cli("certify", "x", "--task", "sst2", "--model", "openai/gpt-4o-mini"), 1, "OPENAI_API_KEY")


def test_a_dead_server_is_one_line_and_exit_code_1(cache, run_cli):
    arguments = ("--model", "vllm/any", "--base-url", "http://127.0.0.1:9", "--max-retries", "0", "--cache", cache)
    refused(run_cli("certify", "a good film", "--task", "sst2", *arguments), 1, "127.0.0.1:9")


def test_help_needs_nothing_heavy():
    code = (
        "import sys, clucert, clucert.cli; clucert.cli.cli.main(['--help'], standalone_mode=False);"
        "heavy = {'numpy', 'scipy', 'sklearn', 'onnxruntime', 'openai', 'xllamacpp', 'torch', 'pydantic', 'rich'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.llm
def test_a_certificate_from_a_real_language_model(cache):
    result = clucert("certify", TEXT, "--task", "sst2", *SMALL, "--show-samples", "2", "--cache", cache)
    shown = result.out
    assert result.code == 0, result.stderr
    assert "answer      positive" in shown
    assert "is proved to stay" in shown.splitlines()[0]
    begin = [line.split()[0] for line in shown.splitlines()]
    assert begin.index("answer") < begin.index("proved") < begin.index("published") < begin.index("cost")
    assert TEXT in shown
    verbose = clucert("certify", TEXT, "--task", "sst2", *SMALL, "-v", "--cache", cache).out
    assert "prediction  positive" in verbose
    assert all(word in verbose for word in ("radius", "votes", "seed 0", "A1 ", "of blocks", "of groups"))


@pytest.mark.llm
def test_json_holds_it_all_and_a_second_run_costs_nothing(cache):
    arguments = ("certify", "-", "--task", "sst2", "--method", "ranmask", *SMALL, "--json", "--cache", cache)
    first = json.loads(clucert(*arguments, stdin=TEXT.encode()).stdout)
    second = json.loads(clucert(*arguments, stdin=TEXT.encode()).stdout)
    assert first["schema_version"] == 1
    assert first["cost"]["classify"]["calls"] > 0
    assert (
        second["cost"]["classify"]["calls"] == second["cost"]["reused"]["calls"] == first["cost"]["classify"]["calls"]
    )
    assert {k: v for k, v in first.items() if k != "cost"} == {k: v for k, v in second.items() if k != "cost"}
    certified, _ = document.read(first)
    assert certified.certificate.subject.text == TEXT


@pytest.mark.llm
@pytest.mark.parametrize(
    "text", ["word", "👍👍 שלום عالم", "<script>alert(1)</script> [bold]x[/bold]", "a\x01b \x1b[31mred"]
)
def test_strange_texts_are_certified_and_shown_inert(text, cache):
    result = clucert("certify", "-", "--task", "sst2", *SMALL, "--cache", cache, stdin=text.encode())
    assert result.code == 0, result.stderr
    assert b"\x1b" not in result.stdout
    assert b"\x01" not in result.stdout
    assert b"answer" in result.stdout


@pytest.mark.llm
def test_two_models_vote_as_an_ensemble_and_a_prompt_of_ones_own_works(tmp_path, cache):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Is this message spam or ham?\n\nMessage: {text}\nAnswer:")
    result = clucert(
        *("certify", "WIN a free {prize} now!", "--labels", "spam,ham", "--prompt", str(prompt)),
        *("--model", "smollm2", "--model", "smollm2", *SMALL, "--json", "--cache", cache),
    )
    document_ = json.loads(result.stdout)
    assert set(document_["selection"]["counts"]) == {"spam", "ham"}


# Answers that are no votes


def chat(run: Command, tmp_path: Path, url: str, command: str, *more: str) -> Ended:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": f"{TEXT} {i}", "label": "positive"}) + "\n" for i in range(3)))
    what = [TEXT] if command == "certify" else ["--data", str(data), "--run-dir", str(tmp_path / "run")]
    who = ("--model", "vllm/m", "--base-url", url, "--no-cache", "--method", "ranmask", "--task", "sst2")
    return run(command, *what, *who, "--samples", "30", "--certify-samples", "60", *more)


@pytest.mark.parametrize("command", ["certify", "evaluate"])
def test_answers_that_nobody_can_read_stop_the_command_in_one_line(
    command: str, tmp_path: Path, run_cli: Command
) -> None:
    def respond(request: Request, i: int) -> Reply:
        reply = completion(f"<think>\nlet me see {i}, is it positive")
        reply.body["choices"][0]["finish_reason"] = "length"
        return reply

    with serving(respond) as server:
        result = chat(run_cli, tmp_path, server.url, command, "--answer-tokens", "8")
    assert {request.body["max_tokens"] for request in server.requests} == {8}
    assert len(server.requests) == 20
    refused(result, 1, "20 of the first 20", "20 cut at the token limit", "--answer-tokens")
    assert result.err.count("let me see") == 2


@pytest.mark.parametrize("command", ["certify", "evaluate"])
@pytest.mark.parametrize(("asked", "lines"), [((), 1), (("--show-unparsed", "3"), 3), (("--show-unparsed", "0"), None)])
def test_unparsed_answers_are_shown(
    command: str, asked: tuple[str, ...], lines: int | None, tmp_path: Path, run_cli: Command
) -> None:
    def respond(_: Request, i: int) -> Reply:
        return completion(f"\x1b[31mnot positive, part {i}" if i % 5 == 0 else "positive")

    with serving(respond) as server:
        result = chat(run_cli, tmp_path, server.url, command, *asked)
    shown = result.out + result.err
    assert result.code == 0, shown
    assert "\x1b" not in shown
    # A certificate without any example would hide that there are some.
    expected = lines if lines is not None else 1 if command == "certify" else 0
    assert shown.count("\\x1b[31mnot positive, part") == expected
    assert shown.count("states no label") == expected


@pytest.mark.llm
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--method", "groups"), "inserted, deleted or moved"),
        (("--method", "blocks", "--count", "7"), "replaced"),
        (("--method", "windows", "--flag", "positive", "--size", "6"), "before and behind the text"),
        (("--method", "erase-and-check", "--flag", "positive", "--suffix", "3"), "any 3 words appended"),
    ],
)
def test_a_few_questions_prove_what_no_mask_can(options, line, cache):
    text = "A touching and funny story , with wonderful acting , a clever script and a lovely ending ."
    result = clucert("certify", text, "--task", "sst2", *options, "--cache", cache)
    assert result.code == 0, result.stderr
    shown = result.out
    assert "answer      positive" in shown
    assert "questions, exact" in shown
    assert line in shown


@pytest.mark.llm
def test_by_default_a_certificate_comes_with_proofs_of_few_questions(cache):
    result = clucert("certify", TEXT, "--task", "sst2", *SMALL, "--json", "--cache", cache)
    exact = json.loads(result.stdout)["exact"]
    assert [proof["method"]["name"] for proof in exact] == ["blocks", "groups"]
    assert all(proof["derived"]["alpha"] == 0 for proof in exact)


def test_options_of_exact_methods_go_with_them(run_cli):
    refused(run_cli("certify", TEXT, "--task", "sst2", "--count", "3"), 2, "--count", "groups")
    study = ("evaluate", "--task", "sst2", "--data", "x.csv", "--run-dir", "r")
    refused(run_cli(*study, "--method", "ranmask", "--count", "3"), 2, "--count", "groups")
    refused(run_cli(*study, "--method", "groups", "--mask-rate", "0.7"), 2, "--mask-rate", "groups")
    refused(run_cli(*study, "--method", "windows"), 2, "--flag")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("alpha", "0.01"), ("samples", "5"), ("certify-samples", "5"), ("sampling", "staged"), ("seed", "1")),
        *(("gamma", "0.9"), ("target-radius", "1"), ("mask-rate", "0.5"), ("similarity", "0.5"), ("helper-model", "x")),
    ],
)
def test_flags_about_samples_are_refused_beside_a_method_that_draws_none(
    name: str, value: str, run_cli: Command
) -> None:
    """Also where the value is the default one: nothing that was asked for is left aside without a word."""
    option = "threshold" if name == "similarity" else name
    study = ("--data", "x.csv", "--run-dir", "r", "--task", "sst2", "--method", "groups")
    for command in (("certify", TEXT, "--task", "sst2", "--method", "groups"), ("evaluate", *study), ("tune", *study)):
        refused(run_cli(*command, f"--{name}", value), 2, f"--{option}", "groups")


def test_the_seed_of_a_random_choice_of_rows_goes_with_every_method(run_cli: Command) -> None:
    """It is refused above where it chooses nothing."""
    command = ("evaluate", "--task", "sst2", "--method", "groups", "--sample", "3", "--seed", "1", "--print-config")
    assert "seed: 1\n" in run_cli(*command).out
