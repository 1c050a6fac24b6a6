"""The command line. Each command is one thin function in a module of its own, imported when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from clucert.cli.terminal import echo
from clucert.errors import CluCertError, UnknownNameError, bounded

# name: (module, one line for the overview); the module's function of the same name is the command.
COMMANDS = {
    "certify": ("clucert.cli.certify", "Certify one text."),
    "evaluate": ("clucert.cli.evaluate", "Certify a data set into a run directory."),
    "compare": ("clucert.cli.compare", "Compare runs on the same rows."),
    "report": ("clucert.cli.report", "Write one self-contained HTML file about runs."),
    "train": ("clucert.cli.train", "Train a classifier on noise, and certify with it."),
    "tune": ("clucert.cli.tune", "Choose a method's options, or a guard's threshold."),
    "audit": ("clucert.cli.audit", "Try to break the certificates of a run."),
    "attack": ("clucert.cli.attack", "Attack a data set, bare and under defences."),
    "serve": ("clucert.cli.serve", "Defend an OpenAI-compatible endpoint."),
    "cache": ("clucert.cli.cache", "Show, clear or export the kept answers."),
    "init": ("clucert.cli.init", "Write a small project that runs as it is."),
    "weights": ("clucert.cli.weights", "Say where each file with weights comes from."),
    "methods": ("clucert.cli.listing", "List the methods and what each proves."),
    "tasks": ("clucert.cli.listing", "List the tasks and their labels."),
    "models": ("clucert.cli.listing", "List the kinds of models."),
    "attacks": ("clucert.cli.listing", "List the attacks."),
}
GROUPS = {
    "Start": ("init", "certify"),
    "A data set": ("evaluate", "compare", "report", "tune", "train"),
    "Try to break it": ("audit", "attack"),
    "Run it": ("serve", "cache", "weights"),
    "What there is": ("methods", "tasks", "models", "attacks"),
}
"""The overview; a command that is in no group comes last."""


class LazyGroup(click.Group):
    """Commands are imported when they run: `clucert --help` loads none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or a usage error that names the nearest ones."""
        if cmd_name not in COMMANDS:
            raise click.UsageError(str(UnknownNameError("command", cmd_name, COMMANDS)), ctx)
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = getattr(module, cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.{cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, without importing anything."""
        placed = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in COMMANDS if name not in placed)
        for title, names in {**GROUPS, "Others": others}.items():
            if names:
                with formatter.section(title):
                    formatter.write_dl([(f"{name:<8}", COMMANDS[name][1]) for name in names])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(package_name="clucert", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Certified robustness for language-model classifiers and guardrails.

    Exit codes: 0 done (an abstention is an answer), 1 failure, 2 wrong usage, 3 a gate was missed, 4 a cap was
    reached, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        echo(ctx.get_help())


def main() -> None:
    """Entry point: one line for every expected error, the documented exit codes, no traceback."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.Abort:
        code = _fail("interrupted: answers that the cache keeps are not asked for again", 130)
    except click.ClickException as error:
        code = _fail(error.format_message(), error.exit_code)
    except CluCertError as error:
        code = _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`clucert … | head`): nothing to tell anyone.
        sys.stderr.close()
        code = 1
    except OSError as error:
        code = _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> int:
    from clucert.redact import redact

    echo(f"clucert: {bounded(redact(message))}", err=True)
    return code
