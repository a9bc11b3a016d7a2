"""Encoders and galleries from the Hugging Face Hub, at one commit; from the cache where the Hub can't be reached."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from img2loc.errors import HubError, HubUnavailableError
from img2loc.hardening.patch import telemetry_patch

REACH_TIMEOUT_S = 10.0

OnBytes = Callable[[int], None]
_REPO = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./-]*", re.ASCII)  # it becomes part of a path in the cache


def split_revision(name: str) -> tuple[str, str | None]:
    """Split owner/name[@revision].

    Raises:
        HubError: It isn't the name of a repository.
    """
    repo, separator, revision = name.partition("@")
    if not _REPO.fullmatch(repo) or (separator and not _REVISION.fullmatch(revision)):
        raise HubError(f"{name!r} is neither a folder here nor a Hub repository written owner/name[@revision]")
    return repo, revision or None


def ignore_bytes(received_bytes: int) -> None:
    """Do nothing with the progress of a download."""


def fetch(repo: str, revision: str | None, patterns: Sequence[str], *, on_bytes: OnBytes = ignore_bytes) -> Path:
    """Download files of a Hub model repo, or find them in the cache.

    The Hub is asked first for the commit, with a short time-out: its client would retry for half a minute a file.

    Args:
        repo: owner/name.
        revision: Commit, tag or branch; None for the main branch.
        patterns: Which files, as shell patterns.
        on_bytes: Called now and then with the number of bytes received so far.

    Returns:
        A folder of the cache, named by the commit.

    Raises:
        HubError: There is no such repo or revision.
        HubUnavailableError: It can't be downloaded, and there is no complete copy here.
    """
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 - not needed for the starter
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415

    telemetry_patch().apply()
    pull = partial(snapshot_download, repo, allow_patterns=list(patterns))
    try:
        revision = HfApi().model_info(repo, revision=revision, timeout=REACH_TIMEOUT_S).sha
        return Path(pull(revision=revision, tqdm_class=_reporting(on_bytes)))
    except RevisionNotFoundError:
        raise HubError(f"the Hub repository {repo} has no revision {revision!r}") from None
    except RepositoryNotFoundError:
        raise HubError(f"the Hub has no model repository {repo}, or it is private and HF_TOKEN is not set") from None
    except Exception as error:  # whatever failed, a complete copy in the cache will do
        with suppress(Exception):  # LocalEntryNotFoundError, or a fault of the cache itself
            return Path(pull(revision=revision, local_files_only=True))
        if isinstance(error, OSError) and error.errno:
            raise HubUnavailableError(f"{repo} can't be saved on this machine ({error.strerror})") from error
        raise HubUnavailableError(
            f"the Hub can't be reached ({type(error).__name__}), and this machine has no complete copy of {repo}"
        ) from error


def _reporting(on_bytes: OnBytes) -> Any:  # noqa: ANN401 - tqdm has no types
    """The client's own progress bar, which also reports the bytes received."""
    from huggingface_hub.utils.tqdm import tqdm  # noqa: PLC0415

    lock = threading.Lock()  # files are downloaded in parallel, and share the bar

    class Reporting(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - tqdm's own
            # Kept here, since a bar that is not drawn, as in a log, keeps nothing itself.
            self.counts_bytes, self.received_bytes = options.get("unit") == "B", 0
            super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            if self.counts_bytes:  # other bars count files
                with lock:
                    self.received_bytes += int(n or 0)
                    on_bytes(self.received_bytes)
            super().update(n)

    return Reporting
