"""The client of the hub, whose errors become ours: one sentence that says what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from unrolled.errors import RunError, UnavailableError, UnrolledError
from unrolled.hub.address import Address
from unrolled.quoting import quote
from unrolled.system import package_version

_TRANSPORTS = {"httpx", "httpx2", "requests", "huggingface_hub", "hf_xet"}
"""The packages that carry requests, in the versions of huggingface_hub that can be installed."""


def client() -> Any:
    """The client of huggingface_hub, with the user's settings: `HF_ENDPOINT`, `HF_TOKEN`, a login."""
    from huggingface_hub import HfApi

    endpoint = os.environ.get("HF_ENDPOINT") or None
    return HfApi(endpoint, library_name="unrolled", library_version=package_version())


@contextmanager
def asking(address: Address) -> Iterator[None]:
    """Turn errors of the client into errors that name the repository, and keep it from drawing bars.

    Raises:
        RunError: there is no such repository or revision, or it is not accessible.
        UnavailableError: the hub cannot be reached, or refuses.
    """
    utils: Any = import_module("huggingface_hub.utils")

    were_disabled = utils.are_progress_bars_disabled()
    try:
        utils.disable_progress_bars()
        yield
    except Exception as error:
        if (cause := _of_transport(error)) is None:
            raise
        raise _explained(cause, address) from error
    finally:
        if not were_disabled:
            utils.enable_progress_bars()


def _of_transport(error: BaseException | None) -> Exception | None:
    """The first error of a request among an error and its causes."""
    while error is not None:
        is_of_request = type(error).__module__.split(".")[0] in _TRANSPORTS
        if is_of_request and isinstance(error, Exception):
            return error
        error = error.__cause__
    return None


def _explained(error: Exception, address: Address) -> UnrolledError:
    from huggingface_hub import errors

    log_in = "log in with 'hf auth login', or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return RunError(
            f"access to {address} has to be granted by its owner; ask for it, then {log_in}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return RunError(
            f"there is no repository {address}, or it is private; check it, or {log_in}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return RunError(f"{address} has no such revision; name another one after the '@'")
    if isinstance(error, errors.LocalTokenNotFoundError):
        return UnavailableError(f"{address} needs a login; {log_in}")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return UnavailableError(
            f"{address} cannot be reached, because HF_HUB_OFFLINE is set; unset it"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return RunError(f"the hub does not allow this for {address} (status {status}); {log_in}")
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return UnavailableError(
        f"{address} cannot be reached ({quote(reason[0], 200)}); check the connection, and try again"
    )
