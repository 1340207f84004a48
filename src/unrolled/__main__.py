"""`unrolled`, and `python -m unrolled`: what must hold before the command line itself is imported.

Its imports take a third of a second, in which Ctrl-C, a lack of memory and closed streams must end in
one sentence, or silence, as they do later.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

from unrolled.out_of_memory import is_out_of_memory

INTERRUPTED = 130


def main() -> int:
    """Run the command line on the arguments of this process; returns the exit code."""
    _fill_closed_descriptors()
    before = signal.getsignal(signal.SIGINT)
    can_stop = before is signal.default_int_handler  # what runs in the background may ignore it
    if can_stop:
        signal.signal(signal.SIGINT, _stop)
    try:
        from unrolled import cli
    except (MemoryError, ImportError, OSError, SystemError) as error:
        if not is_out_of_memory(error):
            raise
        _write("unrolled: out of memory before it could start; give it more\n")
        return 2
    if can_stop:
        sys.unraisablehook = _interrupt_again
        signal.signal(signal.SIGINT, before)
    code = cli.main()
    if can_stop:  # Python's own way out takes a while
        signal.signal(signal.SIGINT, _stop)
    return code


def _fill_closed_descriptors() -> None:
    """Closed standard streams become empty ones, or the next file opened would take their place.

    Python's own objects stay None, by which the command line knows.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)


def _stop(number: int, frame: FrameType | None) -> None:
    """End at once: an exception in the midst of an import, or of the way out, ends in a traceback."""
    _write("\nunrolled: interrupted\n")
    os._exit(INTERRUPTED)


def _interrupt_again(unraisable: Any) -> None:
    """Ctrl-C in a place that cannot raise it, as a destructor: it comes again a moment later."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    import _thread

    _thread.interrupt_main()


def _write(text: str) -> None:
    try:
        os.write(2, text.encode())
    except OSError:  # nobody reads
        return


if __name__ == "__main__":
    sys.exit(main())
