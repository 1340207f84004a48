"""Addresses of runs on the hub: `hf://user/name`, and `hf://user/name@revision`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unrolled.errors import ConfigError, did_you_mean
from unrolled.quoting import quote

PREFIX = "hf://"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST = 96  # characters of a user or a name


@dataclass(frozen=True)
class Address:
    """A repository, and one of its revisions.

    Args:
        repository: user and name, "user/name".
        revision: a branch, a tag or the hash of a commit; "" for the newest commit of the main branch.
    """

    repository: str
    revision: str = ""

    @classmethod
    def of(cls, text: str) -> Address:
        """Read an address.

        Raises:
            ConfigError: it is not of the form hf://user/name[@revision].

        >>> Address.of("hf://ann/station@v1")
        Address(repository='ann/station', revision='v1')
        """
        if not text.startswith(PREFIX):
            raise ConfigError(
                f"expected hf://user/name[@revision], got {quote(text)}"
                f"{did_you_mean(text, [PREFIX + text.lstrip('/')])}"
            )
        repository, at, revision = text.removeprefix(PREFIX).partition("@")
        is_name = _REPOSITORY.fullmatch(repository) and ".." not in repository
        if not is_name or max(map(len, repository.split("/"))) > _LONGEST:
            raise ConfigError(
                f"{quote(text)} does not name a repository; expected hf://user/name, with letters, "
                f"digits, '-', '_' and '.', at most {_LONGEST} of them for each"
            )
        if at and (not _REVISION.fullmatch(revision) or ".." in revision):
            raise ConfigError(
                f"{quote(text)} has no valid revision after the '@'; give a branch, a tag or the hash of "
                "a commit, or leave out the '@'"
            )
        return cls(repository, revision)

    @property
    def is_commit(self) -> bool:
        """Whether the revision is the full hash of a commit."""
        return _COMMIT.fullmatch(self.revision) is not None

    def at(self, revision: str) -> Address:
        """The same repository at another revision."""
        return Address(self.repository, revision)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}{'@' + self.revision if self.revision else ''}"
