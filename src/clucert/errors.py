"""Every error CluCERT raises on purpose, in one tree.

::

    CluCertError                 anything below; the command line exits with 1
    ├── UsageError               the call itself is wrong; the command line exits with 2
    │   ├── InputError           a text, file or label list that cannot be worked on
    │   │   └── TooMuchError        a request that would cost more than one may
    │   ├── UnknownNameError     a name that is not registered (says the nearest ones)
    │   └── MissingExtraError    an optional dependency is not installed (says the command)
    ├── ModelError               a model did not answer
    │   ├── ModelUnavailableError   dead server, wrong URL, refused connection
    │   │   ├── ModelTimeoutError      no answer in time
    │   │   └── ModelStatusError       a server answered with a status that is none of success
    │   ├── FatalModelError         no other call would fare better: it stops a run
    │   │   ├── AuthenticationError    missing or refused key
    │   │   └── ModelChangedError      another model answers than before
    │   └── BadAnswerError          an answer that is not what the protocol promises
    ├── CacheError               the cache of answers cannot be read or written
    ├── ClusterError             a cluster cannot be reached, or its workers break
    ├── DataIntegrityError       packaged or downloaded data is not what was pinned
    └── BudgetExceededError      a cap on calls, tokens or money stopped the work

The message of each is one line and says what to do next. No message holds a key.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path

from clucert.redact import shown
from clucert.visible import visible

_LONGEST = 1200
"""Characters of a message that are shown."""
_MARGIN = 2000
"""Characters beyond those that are shown in which secrets are looked for."""


def shortened(text: str, most: int = 120) -> str:
    """``text`` as a message may repeat it: on one line, no secrets or control characters, at most ``most`` long."""
    # Cut first: what is repeated may be a file. But far beyond what is shown: half of a URL hides no password.
    line = " ".join(shown(text[: 4 * most + _MARGIN]).split())
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return plain if len(plain) <= most and len(text) <= 4 * most else f"{plain[: most - 1]}…"


_OURS = (
    str(Path(__file__).parent),
    *(str(Path(traceback.__file__).parent / name) for name in ("asyncio", "concurrent", "contextlib.py")),
)


def _of_the_user(stack: Iterable[traceback.FrameSummary]) -> traceback.StackSummary:
    """The frames that are neither CluCERT's nor of what stands between its calls and those of the user."""
    kept = [f for f in stack if not f.filename.startswith(_OURS) and "IPython" not in Path(f.filename).parts]
    return traceback.StackSummary.from_list(kept)


def bounded(message: str) -> str:
    """``message``; of one that repeats a whole file, how it begins and how it ends."""
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]} … {message[-_LONGEST // 4 :]}"


class CluCertError(Exception):
    """Base class; ``exit_code`` is what the command line leaves with.

    Of the message, which may repeat what data, a model, a server or the user said, secrets are hidden here, and control
    characters are made visible: whoever shows or logs it need not.
    """

    exit_code = 1

    def __init__(self, *args: object) -> None:
        super().__init__(*(visible(shown(each)) if isinstance(each, str) else each for each in args))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the lines of the user's own code, and the message. ``%debug`` has all the others."""
        told = traceback.TracebackException.from_exception(self)
        each: traceback.TracebackException | None = told
        while each is not None:
            each.stack = _of_the_user(each.stack)
            before = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
            if before is not None and not _of_the_user(before.stack):  # The message says what it was.
                each.__cause__, each.__suppress_context__, before = None, True, None
            each = before
        return [visible(shown(line)) for line in "".join(told.format()).splitlines()]

    def __str__(self) -> str:
        """The message, :func:`bounded`."""
        return bounded(super().__str__())


class UsageError(CluCertError):
    """The call itself is wrong: fix the arguments and run it again."""

    exit_code = 2


class InputError(UsageError):
    """A text, file or label list that cannot be worked on."""


class TooMuchError(InputError):
    """A request that would cost more than one may: nothing was asked."""


class UnknownNameError(UsageError):
    """A name that is not registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        name = shortened(name)
        near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}known: {', '.join(names)}")
        self.kind, self.name, self.known = kind, name, tuple(names)


class MissingExtraError(UsageError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, command: str) -> None:
        super().__init__(f"{what} is not installed: run  {command}")
        self.command = command


class ModelError(CluCertError):
    """A model did not answer. Its vote is never guessed."""


class ModelUnavailableError(ModelError):
    """Dead server, wrong URL, refused connection or timeout."""


class ModelTimeoutError(ModelUnavailableError):
    """No answer in time, retries included."""


class ModelStatusError(ModelUnavailableError):
    """A server answered, retries included, with an HTTP status that is none of success."""

    def __init__(self, message: str, status: int, *, said: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.said = said
        """The server's own words, on one line and without keys; they may repeat the prompt."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait, where it says so."""


class FatalModelError(ModelError):
    """What no other call would escape: it stops a run."""


class AuthenticationError(FatalModelError):
    """Missing or refused key."""


class ModelChangedError(FatalModelError):
    """Another model answers at an address than before: what both have said is not one classifier's."""


class BadAnswerError(ModelError):
    """An answer that is not what the protocol promises."""


class UnreadableError(CluCertError):
    """Most of a model's answers are no votes: going on would pay for answers that nobody can read."""


class CacheError(CluCertError):
    """The cache of answers cannot be read or written; what was stored before stays."""


class ClusterError(CluCertError):
    """A cluster cannot be reached, or its workers break; the records that are written stay."""


class DataIntegrityError(CluCertError):
    """Packaged or downloaded data is not what was pinned."""


class BudgetExceededError(CluCertError):
    """A cap on calls, tokens or money stopped the work; what was paid for is kept."""
