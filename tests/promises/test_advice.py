"""Advice works: what a message tells to do is done here, and gets what it promises.

The messages are collected from the source, too: no flag or command that one names may be missing.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

import clucert
from clucert.cli import COMMANDS, cli
from tests.commands import Command
from tests.models.fake_server import Reply, Request, completion, serving

SOURCE = Path(clucert.__file__).parent
TEXT = "'a good and warm and funny story about two friends with a fine and charming cast of great players'"
BAD = ("bad", "slow", "dull", "awful", "poor", "grim")
SHORT = "'a good film'"
FOREIGN = {"--no-deps", "--force-reinstall"}
"""Flags of pip."""


def messages() -> Iterator[tuple[str, str]]:
    """Every string of the source that is no documentation, with the place it stands at."""
    for file in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        inner = {id(v) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for v in node.values}
        inner |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in inner:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{file.relative_to(SOURCE)}:{node.lineno}", node.value
            elif isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
                yield f"{file.relative_to(SOURCE)}:{node.lineno}", "".join(map(str, parts))


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def known_flags() -> set[str]:
    held: set[str] = set()
    commands = [command_of(name) for name in COMMANDS]
    commands += [sub for command in commands if isinstance(command, click.Group) for sub in command.commands.values()]
    for command in commands:
        for param in command.params:
            held |= {*param.opts, *param.secondary_opts}
    return held | {"--help", "--version"}


def test_every_flag_and_every_command_that_a_message_names_is_there() -> None:
    flags, found = known_flags(), 0
    for place, said in messages():
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w{-])", said):
            found += 1
            assert flag in flags | FOREIGN, (place, flag, said)
        for name in re.findall(r"(?:run|:) +clucert ([a-z]+)", said):
            assert name in COMMANDS, (place, said)
    assert found > 100


def answer(request: Request, number: int) -> Reply:
    """Votes by words; prompts with "mumble" get what is no label."""
    asked = "\n".join(str(message["content"]) for message in request.body["messages"])
    text = asked.lower().rpartition("review:")[2].rpartition("article:")[2]
    labels = ("spam", "ham") if "spam" in asked else ("positive", "negative")
    if "sci/tech" in asked:
        labels = ("world", "sports")
    if "mumble" in text and "One word" not in asked:
        return completion("Well, who could tell.")
    if "broken" in text:
        return Reply(400, {"error": {"message": "cannot read this"}})
    return completion(labels[any(word in text for word in BAD)])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(answer) as running:
        yield running.url


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str) -> Path:
    """A folder with data, where commands are run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing")
    monkeypatch.setenv("COLUMNS", "200")
    good, bad = "a good and warm and funny film", " ".join(BAD)
    rows = {
        "d.csv": ["text,label", f"{good} one,positive", f"{bad} two,negative"],
        "other.csv": ["text,label", f"{good} one,positive", f"{bad} three,negative", f"{good} four,positive"],
        "numbers.csv": ["text,label", f"{good} one,0", f"{bad} two,1"],
        "junk.csv": ["text,label", f"{good} one,junk", f"{bad} two,ham"],
        "torn.csv": ["text,label", f"{good} one,positive", "torn", f"{bad} two,negative"],
        "body.csv": ["body,label", f"{good} one,positive", f"{bad} two,negative"],
        "named.csv": ["id,text,label", f"a,{good} one,positive", f",{bad} two,negative"],
        "sorted.csv": [
            "text,label",
            *(f"{good} {i},positive" for i in range(9)),
            *[f"{bad} {i},negative" for i in "ab"],
        ],
        "turned.csv": [
            "text,label",
            *(f"{good} {i},negative" for i in range(8)),
            *[f"{bad} {i},positive" for i in range(8)],
        ],
        "mumble.csv": ["text,label", *(f"mumble {good} {i},positive" for i in range(3)), f"{bad} two,negative"],
        "failing.csv": ["text,label", f"{good} one,positive", "broken,positive", f"{bad} two,negative"],
        "attacked.csv": ["text,label,behind", f"{good} one,positive, and dull", f"{bad} two,negative,!"],
        "d.txt": ["text,label", f"{good} one,positive"],
    }
    for name, lines in rows.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    (tmp_path / "prompt.txt").write_text("Is this spam or ham?\nReview: {text}")
    (tmp_path / "strict.txt").write_text("Is this spam or ham? One word.\nReview: {text}")
    return tmp_path


Run = Callable[[str], tuple[int, str]]


@pytest.fixture
def run(there: Path, run_cli: Command, server: str) -> Run:
    words = {
        "T": TEXT,
        "S": SHORT,
        "M": f"--model openai/test --base-url {server} --max-retries 0 --cache c.sqlite",
        "N": "--samples 12 --certify-samples 24",
    }
    words["D"] = f"{words['M']} --deterministic"

    def ran(command: str) -> tuple[int, str]:
        for name, value in words.items():
            command = re.sub(rf"\b{name}\b", lambda _, value=value: value, command)
        ended = run_cli(*shlex.split(command))
        return ended.code, ended.out + ended.err

    return ran


class Case(NamedTuple):
    """A command, what it says, what that tells to do (``{1}`` is the first group of what it says), and what comes of
    it: these words, and an exit code.
    """

    first: str
    says: str
    then: str
    gets: str = ""
    code: int = 0


CERTIFY = [
    Case("certify T D N", "--task sst2", "certify T D N --task sst2", "answer +positive"),
    Case("certify T D N", "--labels a,b with --prompt", "certify T D N --labels spam,ham --prompt prompt.txt", "spam"),
    Case(
        "certify T D N --labels spam,ham", "--prompt prompt.txt", "certify T D N --labels spam,ham --prompt prompt.txt"
    ),
    Case(
        "certify T D N --labels spam --prompt prompt.txt",
        "--labels spam,ham",
        "certify T D N --labels spam,ham --prompt prompt.txt",
    ),
    Case(
        "certify 'mumble mumble mumble mumble mumble mumble' D --labels spam,ham --prompt prompt.txt --method blocks",
        "try have the prompt ask for nothing but the label",
        "certify 'mumble mumble mumble mumble mumble mumble' D --labels spam,ham --prompt strict.txt --method blocks",
        "answer +spam",
    ),
    Case("certify T D N --task sst3", "did you mean '(.*?)'", "certify T D N --task {1}"),
    Case(
        "certify T D N --task sst2 --method randmask", "did you mean '(.*?)'", "certify T D N --task sst2 --method {1}"
    ),
    Case(
        "certify T D N --task sst2 --judge openai/test",
        "try --task refusal",
        "certify T D N --task refusal --judge openai/test",
    ),
    Case(
        "certify T D N --task sst2 --system-prompt Hi",
        "--system-prompt goes with (--task refusal)",
        "certify T D N {1} --system-prompt Hi",
    ),
    Case(
        "certify T D N --task sst2 --method deletion --target-radius 1",
        "leave it out",
        "certify T D N --task sst2 --method deletion",
    ),
    Case(
        "certify T D N --task sst2 --method ranmask --count 3",
        "--method (blocks)",
        "certify T D --task sst2 --method {1} --count 3",
    ),
    Case(
        "certify T D N --task sst2 --method ranmask --count 3",
        "(groups)",
        "certify T D --task sst2 --method {1} --count 3",
    ),
    Case(
        "certify T D N --task sst2 --method ranmask --every 3",
        "(chunks)",
        "certify T D --task sst2 --method {1} --every 3",
    ),
    Case(
        "certify T D N --task sst2 --method ranmask --size 3",
        "(windows)",
        "certify T D --task sst2 --method {1} --size 3 --flag negative",
        "passed",
    ),
    Case(
        "certify T D N --task sst2 --method ranmask --suffix 3",
        "(erase-and-check)",
        "certify T D --task sst2 --method {1} --suffix 3 --flag negative",
    ),
    Case(
        "certify T D --task sst2 --method blocks --mask-rate 0.5",
        "--mask-rate goes",
        "certify T D --task sst2 --method blocks",
    ),
    Case(
        "certify T D --task sst2 --method blocks --samples 5", "leave it out", "certify T D --task sst2 --method blocks"
    ),
    Case(
        "certify T D --task sst2 --method windows",
        "--flag (\\w+)",
        "certify T D --task sst2 --method windows --flag {1}",
        "flagged",
    ),
    Case(
        "certify T D --task sst2 --method groups --at-least 2",
        "--flag (\\w+)",
        "certify T D --task sst2 --method groups --at-least 2 --flag {1}",
        "flagged",
    ),
    Case(
        "certify T D N --task sst2 --method deletion --flag-threshold 0.3",
        "--flag (\\w+)",
        "certify T D N --task sst2 --method deletion --flag-threshold 0.3 --flag {1}",
    ),
    Case(
        "certify T D N --task sst2 --method deletion --flag negative",
        "--threshold, such as 0.1",
        "certify T D --samples 40 --certify-samples 40 --task sst2 --method deletion --flag negative --threshold 0.1",
    ),
    Case(
        "certify T D N --task sst2 --method deletion --flag negative --threshold 0.1",
        "--samples (\\d+)\\)",
        "certify T D --samples {1} --certify-samples 40 --task sst2 --method deletion --flag negative --threshold 0.1",
    ),
    Case(
        "certify T D --task sst2 --method groups --flag negative --at-least 2 --threshold 0.5",
        "give one of them",
        "certify T D --task sst2 --method groups --flag negative --threshold 0.5",
    ),
    Case(
        "certify T D --task sst2 --method groups --flag negative --at-least 9",
        "give at most (\\d+)",
        "certify T D --task sst2 --method groups --flag negative --at-least {1}",
    ),
    Case(
        "certify T D --task sst2 --method groups --flag negative --at-least 0",
        "give 1 or more|at least 1|greater than or equal to 1",
        "certify T D --task sst2 --method groups --flag negative --at-least 1",
    ),
    Case(
        "certify T D --task sst2 --method erase-and-check --flag negative --threshold 0.5",
        "give (--at-least), not",
        "certify T D --task sst2 --method erase-and-check --flag negative {1} 1",
    ),
    Case(
        "certify T D N --task sst2 --method deletion --flag negative --threshold 0.3 --flag-threshold 0.3",
        "give one of them",
        "certify T D N --task sst2 --method deletion --flag negative --threshold 0.3",
    ),
    Case(
        "certify T D N --task sst2 --method ranmask --flag negative,positive --threshold 0.3",
        "leave one out",
        "certify T D N --task sst2 --method ranmask --flag negative --threshold 0.3",
    ),
    Case(
        "certify T D N --task agnews --method ranmask --group world",
        "two or more labels",
        "certify T D N --task agnews --method ranmask --group world,sports",
    ),
    Case(
        "certify T D N --task agnews --method ranmask --flag world --threshold 0.3 --group sports,business",
        "leave out --group",
        "certify T D N --task agnews --method ranmask --flag world --threshold 0.3",
    ),
    Case(
        "certify T M --task sst2 --method groups",
        "vouch for them \\((--deterministic)",
        "certify T M --task sst2 --method groups {1}",
    ),
    Case("certify T M --task sst2 --method groups", "method deletion", "certify T M N --task sst2 --method deletion"),
    Case(
        "certify T D N --task sst2 --method ranmask --max-cost 1",
        "--max-tokens",
        "certify T D N --task sst2 --method ranmask --max-tokens 100000",
    ),
    Case(
        "certify T D N --task sst2 --method ranmask --max-cost 1",
        "--max-requests",
        "certify T D N --task sst2 --method ranmask --max-requests 1000",
    ),
    Case(
        "certify T D N --task sst2 --method ranmask --price-input 1",
        "--price-input and --price-output",
        "certify T D N --task sst2 --method ranmask --price-input 1 --price-output 1 --max-cost 1",
    ),
    Case(
        "certify T D --task sst2 --method ranmask --samples 3 --certify-samples 24",
        "take more \\(--samples\\)",
        "certify T D N --task sst2 --method ranmask",
        "answer +positive",
    ),
    Case(
        "certify S D --task sst2 --method windows --flag positive",
        "try (--size \\d+)",
        "certify S D --task sst2 --method windows --flag positive {1}",
        "proved to stay",
    ),
    Case(
        "certify 'mumble mumble' D N --task sst2 --method ranmask",
        "--show-unparsed 5",
        "certify 'mumble mumble' D N --task sst2 --method ranmask --show-unparsed 5",
        "unparsed +.Well, who could tell",
    ),
    Case(
        "certify T D N --task sst2 -v --method clucert --gamma 0.5",
        "--gamma 1",
        "certify T D N --task sst2 --method clucert --gamma 1 -v",
        "assuming A1",
    ),
]

STUDY = "--task sst2 --method groups"
STUDIES = [
    Case(
        "evaluate D --task sst2 --method groups --run-dir r",
        "--data",
        "evaluate D --task sst2 --method groups --run-dir r --data d.csv",
        "2 of 2 rows are answered right",
    ),
    Case(f"evaluate D {STUDY} --data d.csv", "--run-dir", f"evaluate D {STUDY} --data d.csv --run-dir r"),
    Case(
        "evaluate D --labels spam,ham --prompt prompt.txt --method groups --run-dir r --data numbers.csv",
        "(--label-map \\S+)",
        "evaluate D --labels spam,ham --prompt prompt.txt --method groups --run-dir r --data numbers.csv {1}",
        "2 of 2 rows",
    ),
    Case(
        "evaluate D --labels spam,ham --prompt prompt.txt --method groups --run-dir r --data junk.csv",
        "(--label-map junk=)LABEL",
        "evaluate D --labels spam,ham --prompt prompt.txt --method groups --run-dir r --data junk.csv {1}spam",
        "2 of 2 rows",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data torn.csv",
        "(--skip-malformed)",
        f"evaluate D {STUDY} --run-dir r --data torn.csv {{1}}",
        "2 of 2 rows",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data body.csv",
        "(--text-column); columns: '(.*?)'",
        f"evaluate D {STUDY} --run-dir r --data body.csv {{1}} {{2}}",
        "2 of 2 rows",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data named.csv",
        "(--id-column '')",
        f"evaluate D {STUDY} --run-dir r --data named.csv {{1}}",
        "2 of 2 rows",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data d.txt",
        "(--format), one of (csv)",
        f"evaluate D {STUDY} --run-dir r --data d.txt {{1}} {{2}}",
        "1 of 1 rows",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data sorted.csv --limit 8",
        "(--sample 8) instead of --limit 8",
        f"evaluate D {STUDY} --run-dir s --data sorted.csv {{1}}",
        "8 rows",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data turned.csv",
        "with (\\S+) instead, 16 of 16 .*(--label-map) settles",
        f"evaluate D {STUDY} --run-dir s --data turned.csv {{2}} {{1}}",
        "16 of 16 rows are answered right",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data d.csv --shard 5/9",
        "at most 2 shards",
        f"evaluate D {STUDY} --run-dir r --data d.csv --shard 1/2",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir old --data d.csv",
        "name another --run-dir",
        f"evaluate D {STUDY} --run-dir new --data d.csv",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data failing.csv",
        "(--leave-out-failed)",
        f"evaluate D {STUDY} --run-dir r --data failing.csv {{1}}",
        "2 of 2 rows",
        1,
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data d.csv",
        "2 of 2 rows",
        f"evaluate D {STUDY} --run-dir r --data d.csv --dry-run",
        "every row has its certificate",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data d.csv --dry-run",
        "at an unknown price \\((--price-input), (--price-output)\\)",
        f"evaluate D {STUDY} --run-dir r --data d.csv --dry-run {{1}} 1000 {{2}} 1000",
        "2 inputs: at most .* tokens, \\$[0-9.]+",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data d.csv --fail-under certacc@1=0",
        "no such radius, but (proved@1), (proved-insert@1)",
        f"evaluate D {STUDY} --run-dir r --data d.csv --fail-under {{1}}=0 --fail-under {{2}}=0",
        "passed  proved@1>=0.*\npassed  proved-insert@1>=0",
    ),
    Case(
        f"evaluate D {STUDY} --run-dir r --data d.csv",
        "(-v) for all; as a page: clucert (report r -o report.html)",
        "{2}",
        "wrote report.html",
    ),
    Case(
        f"evaluate M {STUDY} --run-dir r --data d.csv",
        "or sample \\((--method ranmask) for replaced words",
        "evaluate M N --task sst2 {1} --run-dir r --data d.csv",
        "2 of 2 rows",
    ),
    Case("compare a", "clucert (compare) runs/a runs/b", "{1} a b", "of 2 shared rows"),
    Case("compare a other", "--common-only", "compare a other --common-only", "of 1 shared rows"),
    Case("compare a flagged", "name one with (--radius)", "compare a flagged {1} suffix", "suffix|appended"),
    Case(
        "audit empty --cache c.sqlite --base-url URL",
        "the clucert evaluate that began it goes on",
        f"evaluate D {STUDY} --run-dir empty --data d.csv",
    ),
    Case(
        f"tune D {STUDY} --data d.csv --try count=3",
        "--run-dir runs/tune",
        f"tune D {STUDY} --data d.csv --try count=3 --radius insert@1 --run-dir t",
        "best of 1 settings",
    ),
    Case(
        "tune D N --task sst2 --method ranmask --data d.csv --try count=3 --run-dir t",
        "--method blocks",
        "tune D --task sst2 --method blocks --data d.csv --try count=3 --radius word@1 --run-dir t",
        "best of 1 settings",
    ),
    Case(
        f"tune D {STUDY} --data d.csv --try count --radius insert@1 --run-dir t",
        "such as (count=3,5),7",
        f"tune D {STUDY} --data d.csv --try {{1}} --radius insert@1 --run-dir t",
        "best of 2 settings",
    ),
    Case(
        f"tune D {STUDY} --data d.csv --try count=3 --radius insert@x --run-dir t",
        "like (insert@2)",
        f"tune D {STUDY} --data d.csv --try count=3 --radius {{1}} --run-dir t",
        "best of 1 settings",
    ),
    Case(
        "attack D N --task sst2 --data d.csv --recipe deepwordbug,deepwodbug --run-dir t",
        "did you mean '(.*?)'",
        "attack D N --task sst2 --data d.csv --recipe {1} --defence none --max-queries 5 --run-dir t",
        "deepwordbug turns",
    ),
    Case(
        "attack --certificates a --recipe suffix",
        "try (deepwordbug)",
        "attack --certificates a --recipe {1} --max-queries 5 --cache c.sqlite --base-url URL",
        "proved claims",
    ),
    Case("certfy T", "did you mean '(.*?)'", "{1} --help"),
]


def followed(case: Case, run: Run) -> None:
    code, said = run(case.first)
    found = re.search(case.says, " ".join(said.split()))
    assert found, (code, said)
    then = case.then
    for place, group in enumerate(found.groups(), 1):
        then = then.replace(f"{{{place}}}", group)
    code, said = run(then)
    assert code == case.code, said
    assert re.search(case.gets, said), said


@pytest.mark.parametrize("case", CERTIFY, ids=lambda case: case.first)
def test_what_certify_advises_can_be_done(case: Case, run: Run) -> None:
    followed(case, run)


@pytest.mark.parametrize("case", STUDIES, ids=lambda case: case.first)
def test_what_studies_advise_can_be_done(case: Case, run: Run, there: Path, server: str) -> None:
    before = {"old": "--method blocks", "a": "--method groups", "b": "--method groups --count 3"}
    before |= {"flagged": "--method erase-and-check --flag negative", "other": "--method groups"}
    for name, method in before.items():
        if re.search(rf"\b{name}\b", f"{case.first} {case.then}".partition("--data")[0]):
            data = "other.csv" if name == "other" else "d.csv"
            assert run(f"evaluate D --task sst2 {method} --data {data} --run-dir {name}")[0] == 0
    if "empty" in case.first:
        assert run("evaluate D --task sst2 --method groups --data d.csv --run-dir empty --max-requests 0")[0] in (2, 4)
    followed(case._replace(first=case.first.replace("URL", server), then=case.then.replace("URL", server)), run)


def test_the_threshold_that_samples_can_show_needs_that_many_and_no_fewer(run: Run) -> None:
    flags = "certify T D --certify-samples 30 --task sst2 --method deletion --flag negative --threshold 0.1"
    needed = int(re.search(r"--samples (\d+)\)", run(f"{flags} --samples 12")[1])[1])  # type: ignore[index]
    assert run(f"{flags} --samples {needed}")[0] == 0
    assert run(f"{flags} --samples {needed - 1}")[0] == 2


def proved(run: Run, *flags: str) -> dict[str, Any]:
    code, said = run(
        f"certify T D --samples 20 --certify-samples 80 --task sst2 --method clucert --json {' '.join(flags)}"
    )
    assert code == 0, said
    found = json.loads(said)
    return {
        "advice": found["derived"]["gap"] or "",
        "assumes": found["derived"]["assumptions"],
        **{threat: each["radius"] or {"words": -1} for threat, each in found["derived"]["proved"].items()},
    }


def test_what_the_gap_advises_proves_what_it_promises(run: Run) -> None:
    """Any words under masks; any number of synonyms in closed classes."""
    before = proved(run)
    masks = re.search(r"to prove more: (--.*) \(any words\), or (--.*) \(any number of synonyms\)", before["advice"])
    assert masks, before
    assert before["word"]["words"] <= 0
    assert proved(run, masks[1])["word"]["words"] > 0
    assert proved(run, masks[2])["synonym"]["everything"]
