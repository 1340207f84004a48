"""`unrolled push` and `unrolled pull`."""

from __future__ import annotations

from pathlib import Path

from unrolled.cli.app import app
from unrolled.cli.options import print_message
from unrolled.quoting import shell_command


@app.command(usage="Usage: unrolled push RUN hf://user/name[@branch] [OPTIONS]")
def push(run: Path, address: str, /, *, private: bool = False, with_paths: bool = False) -> None:
    """Push a trained run to a repository on the Hugging Face Hub.

    Weights (safetensors), settings, vocabularies, scores, baselines and the model card are pushed;
    checkpoints and reports are not. The address of the new commit is printed. Log in once with
    'hf auth login', or set HF_TOKEN. Only this command and 'unrolled pull' use the network.

    Args:
        run: folder of a trained model, written by 'unrolled train'.
        address: repository, which is created if it does not exist, and a branch after an @.
        private: make a new repository private; an existing one has to be.
        with_paths: push a run although its files name absolute paths of this machine.
    """
    from unrolled.cli.work import reported_on_stderr
    from unrolled.hub import push as pushing

    with reported_on_stderr():
        pinned = pushing.push(run, address, private=private, with_paths=with_paths)
    print(pinned)
    print_message(f"try: {shell_command('unrolled', 'pull', pinned, 'FOLDER')}", prefix="")


@app.command(usage="Usage: unrolled pull hf://user/name[@revision] FOLDER")
def pull(address: str, folder: Path, /) -> None:
    """Pull a run from a repository on the Hugging Face Hub into a new folder.

    The address with the hash of the commit is printed; it always gives the same run. A repository with
    files that no run has is refused.

    Args:
        address: repository, and after an @ a branch, a tag or the hash of a commit.
        folder: new folder.
    """
    from unrolled.cli.work import reported_on_stderr
    from unrolled.hub import pull as pulling

    with reported_on_stderr():
        pinned = pulling.pull(address, folder)
    print(pinned)
    print_message(f"wrote {folder}", prefix="")
