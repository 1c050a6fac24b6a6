"""``python -m clucert``, and the command ``clucert``."""

import signal

# Until main can say it in words, Ctrl-C ends the process without a traceback of what is being imported; where it is
# ignored, as in the background of a script, it stays so.
_HANDLER = signal.getsignal(signal.SIGINT)
if _HANDLER is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from clucert.cli import main  # noqa: E402

signal.signal(signal.SIGINT, _HANDLER)

if __name__ == "__main__":
    main()
