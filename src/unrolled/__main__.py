"""The entry point of `unrolled` and `python -m unrolled`, which guards the import of the command line.

The import takes a third of a second, during which Ctrl-C, a lack of memory and closed streams must give
a one-line message or silence, as they do later.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import MutableMapping
from types import FrameType
from typing import Any

from unrolled.out_of_memory import is_out_of_memory

INTERRUPTED = 130


def main() -> int:
    """Run the command line on the arguments of this process; returns the exit code."""
    _fill_closed_descriptors()
    share_cores(os.environ)
    before = signal.getsignal(signal.SIGINT)
    can_stop = before is signal.default_int_handler  # background processes may ignore it
    if can_stop:
        signal.signal(signal.SIGINT, _stop)
    try:
        from unrolled import cli
    except (MemoryError, ImportError, OSError, SystemError) as error:
        if not is_out_of_memory(error):
            raise
        _write("unrolled: out of memory while starting; free memory, or raise its limit\n")
        return 2
    if can_stop:
        sys.unraisablehook = _interrupt_again
        signal.signal(signal.SIGINT, before)
    code = cli.main()
    if can_stop:  # Python takes a while to exit
        signal.signal(signal.SIGINT, _stop)
    return code


def share_cores(environment: MutableMapping[str, str]) -> None:
    """Let idle threads sleep soon, before PyTorch loads its OpenMP library, which reads this setting.

    By default, GNU's library lets a thread without work spin about 300,000 times before it sleeps. Where
    another process needs the core, training with two threads then takes twice as long; on an idle machine
    1,000 times are as fast (NOTES.md). A setting of the user's has priority.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "1000")


def _fill_closed_descriptors() -> None:
    """Open the null device for closed standard streams; the next opened file would take their number.

    Python's stream objects stay None, so that the command line can detect closed streams.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)


def _stop(number: int, frame: FrameType | None) -> None:
    """Exit at once, as an exception during an import or at exit would print a traceback."""
    _write("\nunrolled: interrupted\n")
    os._exit(INTERRUPTED)


def _interrupt_again(unraisable: Any) -> None:
    """Raise Ctrl-C again a moment later if it came where it cannot be raised, as in a destructor."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    import _thread

    _thread.interrupt_main()


def _write(text: str) -> None:
    try:
        os.write(2, text.encode())
    except OSError:  # standard error has no reader
        return


if __name__ == "__main__":
    sys.exit(main())
