"""An option is written once; its flag, help, YAML key, printed value, manifest entry and marks derive from it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import clucert
from clucert.cli import COMMANDS, cli
from clucert.cli.certify import _standard_input
from clucert.cli.options import Command, Commas, given_flags
from clucert.config import Config
from clucert.errors import UsageError
from clucert.evaluate.run_directory import NOT_COMPARED
from clucert.evaluate.runconfig import StudyConfig, load_config, print_config
from clucert.section import flag, options_of, sections
from tests import commands

GOLDEN = Path(__file__).parents[1] / "golden/config.yaml"
GROUPS = ["Task", "Model", "Cache", "Method", "Changes of the method", "Flags and groups", "Samples", "Certificate"]
MAJORITY = [group for group in GROUPS if group != "Flags and groups"]
EXPECTED = {
    "certify": ["Options", *GROUPS, "Shown samples", "Spending", "Exact methods"],
    "evaluate": ["Options", *GROUPS, "Shown samples", "Spending", "Exact methods", "Data", "Run", "Results"],
    "tune": ["Options", *GROUPS, "Shown samples", "Spending", "Exact methods", "Data", "Run"],
    "attack": ["Options", "Data", "Attacks in the data", "Run", *MAJORITY, "Spending"],
    "serve": [
        *("Options", "Gate", "Endpoint", "Model", "Method", "Flags and groups", "Changes of the method"),
        *("Exact methods", "Samples", "Certificate"),
    ],
    "train": ["Options", "Data", "Task", "Exact methods", "Samples"],
    "audit": ["Options", "Cache"],
    "weights": ["Options"],
    "compare": ["Options", "Results"],
    "report": ["Options", "Results"],
    "cache": ["Options", "Commands"],
    "init": ["Options"],
    "methods": ["Options"],
    "tasks": ["Options"],
    "models": ["Options"],
    "attacks": ["Options"],
}


def help_of(command: str) -> list[str]:
    result = CliRunner().invoke(cli, [command, "--help"], terminal_width=80)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def flags_of(name: str) -> list[click.Option]:
    return [param for param in command_of(name).params if isinstance(param, click.Option)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_is_in_groups_and_fits_a_terminal(command: str) -> None:
    lines = help_of(command)
    titles = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == EXPECTED[command]
    body = lines[lines.index(f"{titles[0]}:") :]
    assert max(map(len, lines)) <= 80
    shown = [line.split()[0].rstrip(",") for line in body if line.startswith("  -")]
    assert sorted(shown) == sorted([*(option.opts[0] for option in flags_of(command)), "-h"])


@pytest.mark.parametrize("command", COMMANDS)
def test_no_help_waits_for_what_it_does_not_show(command: str) -> None:
    code = "import sys\nfrom clucert.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, command, "--help"], capture_output=True, text=True, check=True)
    assert not {"scipy", "sklearn", "onnxruntime", "openai", "rich", "jinja2"} & set(done.stderr.split())


def test_every_option_of_a_study_has_a_flag_with_a_help_of_its_own() -> None:
    known = {option.name: option for option in flags_of("evaluate")}
    names = [name for section in sections(StudyConfig) for name in options_of(section)]
    assert set(names) == set(StudyConfig.model_fields)
    assert set(names) - set(known) == {"attack_column"}
    for name in set(names) & set(known):
        assert flag(name) in known[name].opts
        assert known[name].help


CLOSED = [
    (command, option.opts[0])
    for command in COMMANDS
    if command != "cache"
    for option in flags_of(command)
    if isinstance(option.type, click.Choice)
]


def test_closed_sets_are_choices() -> None:
    closed = {"--recovery", "--refine", "--retained-kernel", "--perturbation", "--sampling"}
    for command in ("certify", "evaluate", "tune", "attack", "serve"):
        assert closed <= {flag for name, flag in CLOSED if name == command}
    more = [("evaluate", "--format"), ("certify", "--unit"), ("certify", "--scores"), ("report", "--plot-format")]
    assert set(CLOSED) >= {*more, ("report", "--table-format"), ("compare", "--radius"), ("serve", "--on-abstain")}


@pytest.mark.parametrize(("command", "written"), CLOSED)
def test_a_closed_flag_refuses_a_wrong_value_and_names_the_right_ones(
    command: str, written: str, run_cli: commands.Command
) -> None:
    (option,) = (option for option in flags_of(command) if written in option.opts)
    assert isinstance(option.type, click.Choice)
    right = list(option.type.choices)
    ended = run_cli(command, written, f"{right[-1]}x")
    commands.refused(ended, 2)
    error = ended.err
    assert error.startswith(f"clucert: {written}: unknown value '{right[-1]}x': did you mean ")
    assert f"'{right[-1]}'" in error
    assert error.rstrip().endswith(f"known: {', '.join(sorted(right))}")
    for value in right:
        assert option.type.convert(value, option, None) == value


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sampling: stagged", "config.yaml:2: sampling: unknown value 'stagged': did you mean 'staged'? known: auto"),
        ("samplng: staged", "config.yaml:2: unknown key 'samplng': did you mean sampling"),
        ("alpha: 2", "config.yaml:2: alpha: Input should be less than 1 (got 2)"),
    ],
)
def test_a_file_says_where_it_is_wrong(line: str, told: str, tmp_path, run_cli) -> None:
    (tmp_path / "config.yaml").write_text(f"task: sst2\n{line}\n")
    commands.refused(run_cli("evaluate", "--config", tmp_path / "config.yaml", "--print-config"), 2, told)


def test_the_printed_configuration_is_golden_and_read_back(run_cli, tmp_path) -> None:
    printed = run_cli("evaluate", "--print-config")
    assert (printed.code, printed.out) == (0, GOLDEN.read_text())
    assert print_config(load_config(GOLDEN, {})) == printed.out
    flags = ["--labels", "ham, spam", "--label-map", "0=ham,1=spam", "--no-cache", "--sampled", "--model", "a/b"]
    more = ["--model", "c/d", "--no-quoted", "--fail-fast", "--mask-rate", "0.70", "--keep", "each", "--protect", "x"]
    (tmp_path / "config.yaml").write_text(run_cli("evaluate", *flags, *more, "--print-config").out)
    config = load_config(tmp_path / "config.yaml", {})
    assert (config.labels, config.label_map) == (["ham", "spam"], {"0": "ham", "1": "spam"})
    assert (config.cache, config.deterministic, config.quoted, config.fail_fast) == (False, False, False, True)
    assert (config.model, config.protect) == (["a/b", "c/d"], ["x"])
    assert config.method_overrides["mask_rate"] == "0.70"
    assert config.method_overrides["keep"] == "each"


def test_an_option_that_does_not_exist_is_met_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown option 'certify_sample': did you mean certify_samples"):
        Config.of(certify_sample=5)


def test_what_two_runs_may_differ_in() -> None:
    compared = set(StudyConfig.model_fields) - NOT_COMPARED
    assert compared == {
        *("judge", "system_prompt", "answer_tokens", "helper_model", "base_url", "temperature", "deterministic"),
        *("protect", "canonical", "samples", "certify_samples", "sampling", "target_radius", "alpha", "gamma", "seed"),
        "show_samples",
    }


NEW = """    novelty: Literal["low", "high"] = option("low", "How new it is.")
    noted: list[int] = option([], "What is noted.", may_differ=True)
    whose: str | None = option(None, "Whose it is.", unset="nobody's", users_own=True)
"""
SEEN = """
import json, sys
from pathlib import Path
from clucert.evaluate.plan import make_plan
from clucert.evaluate.read_certificates import read_run
from clucert.evaluate.run_directory import difference, open_run
from clucert.evaluate.runconfig import load_config

def manifest(**given):
    plan = make_plan(load_config(None, {"task": "sst2", "data": sys.argv[1], "model": "openai/m", **given}))
    return plan.manifest

low, high, noted = manifest(), manifest(novelty="high"), manifest(noted=[3])
with open_run(Path(sys.argv[2]), manifest(novelty="high", whose="mine"), {}):
    pass
again, _ = read_run(Path(sys.argv[2]), None, None)
print(json.dumps([high.config["novelty"], difference(low, high), difference(low, noted), again.novelty, again.whose]))
"""


def test_one_line_is_a_flag_a_help_a_key_a_manifest_entry_and_a_comparison(tmp_path: Path) -> None:
    source, package = Path(clucert.__file__).parent, tmp_path / "clucert"
    package.mkdir()
    for entry in source.iterdir():
        if entry.name != "config.py":
            (package / entry.name).symlink_to(entry)
    before, alpha, after = (source / "config.py").read_text().partition("    alpha: float = option(")
    (package / "config.py").write_text(before + NEW + alpha + after)

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )

    for command in ("certify", "evaluate", "tune", "attack", "serve"):
        shown = " ".join(python("-m", "clucert", command, "--help").stdout.split())
        assert (
            "--novelty [low|high] How new it is. [low] --noted TEXT What is noted. --whose TEXT Whose it is." in shown
        )
        assert "Whose it is. [nobody's] --alpha FLOAT" in shown
    (tmp_path / "config.yaml").write_text("novelty: high\nnoted: [1, 2]\n")
    printed = python("-m", "clucert", "evaluate", "--config", "config.yaml", "--whose", "mine", "--print-config").stdout
    assert "\nnovelty: high\nnoted:\n- 1\n- 2\nwhose: mine\nalpha: 0.05\n" in printed
    wrong = python("-m", "clucert", "evaluate", "--novelty", "hihg")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "did you mean 'high'" in wrong.stderr
    (tmp_path / "rows.jsonl").write_text('{"text": "a fine film", "label": "positive"}\n')
    seen = python("-c", SEEN, "rows.jsonl", "run")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout) == ["high", 'novelty was "low" and is now "high"', None, "high", None]


def test_beside_a_flag_the_threshold_is_its_own_and_similarity_is_always_the_filters() -> None:
    given = {"flag": ["harmful"], "threshold": 0.1, "similarity": 0.5, "flag_threshold": None}
    assert given_flags(given) == {"flag": ["harmful"], "flag_threshold": 0.1, "threshold": 0.5}
    assert given_flags({"flag": None, "threshold": 0.3}) == {"threshold": 0.3}
    assert given_flags({"similarity": 0.3}) == {"threshold": 0.3}
    assert given_flags({"threshold": 0.1, "similarity": 0.5}, flagged=True) == {"flag_threshold": 0.1, "threshold": 0.5}
    assert given_flags({"flag": ["harmful"], "flag_threshold": "0.2"}) == {"flag": ["harmful"], "flag_threshold": "0.2"}
    with pytest.raises(UsageError, match="--similarity"):
        given_flags({"flag": ["harmful"], "threshold": 0.1, "flag_threshold": "0.2"})


def test_groups_are_written_with_commas_and_a_share_is_exact() -> None:
    config = Config.of(group=["harmful,unsafe"], flag="harmful", flag_threshold=0.1)
    assert config.method_overrides["group"] == [("harmful", "unsafe")]
    assert (config.method_overrides["flag"], config.method_overrides["flag_threshold"]) == (["harmful"], "0.1")
    assert Config.of(group="a, b").method_overrides["group"] == [("a", "b")]
    assert Config.of(group=[["a", "b"], "c,d"]).method_overrides["group"] == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("spam,ham", ["spam", "ham"]),
        (" spam , ham ", ["spam", "ham"]),
        ('"yes, sure",no', ["yes, sure", "no"]),
        ('no, "yes, sure"', ["no", "yes, sure"]),
        ('0="yes, sure",1=no', ["0=yes, sure", "1=no"]),
        ('5",6', ['5"', "6"]),
        ("spam,", ["spam", ""]),
    ],
)
def test_a_part_with_a_comma_stands_in_quotes(written, parts):
    assert Commas().convert(written, None, None) == parts
    assert Config(group=written).group == [tuple(parts)]


@pytest.mark.parametrize(
    ("arguments", "text", "number"),
    [
        (["-5 degrees"], "-5 degrees", None),
        (["-1"], "-1", None),
        (["- a bullet", "--number", "-0.5"], "- a bullet", -0.5),
        (["--number", "-0.5", "-.5"], "-.5", -0.5),
        (["--number=-0.5", "-"], "-", -0.5),
        (["--number", "1", "--", "-v"], "-v", 1.0),
        (["-v", "--", "--number"], "--number", None),
    ],
)
def test_a_text_may_begin_with_a_minus(arguments, text, number):
    @click.command(cls=Command)
    @click.argument("text")
    @click.option("--number", type=float)
    @click.option("-v", is_flag=True)
    def command(text, number, v):
        click.echo(json.dumps([text, number]))

    done = CliRunner().invoke(command, arguments)
    assert json.loads(done.output) == [text, number]


@pytest.mark.parametrize(
    ("piped", "text"),
    [
        (b"\xef\xbb\xbfa\r\nb\r\n", "a\nb"),
        (b"a\rb\r", "a\nb"),
        (b"a\n\n", "a\n"),
        (b"a b", "a b"),
    ],
)
def test_what_is_piped_in_comes_without_the_marks_of_a_file(piped, text, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
    assert _standard_input() == text
