"""The errors meant for people.

    Img2LocError
    ├── AddressError             an address that a stranger gave is not on the public internet, or gives no photo
    ├── ConfigError              a setting, an argument or a name is wrong
    │   └── MissingKeyError      a backend needs a key and has none
    ├── DataError                a data set, predictions or a journal of the evaluation can't be used
    ├── HubError                 files of the Hugging Face Hub can't be had
    │   └── HubUnavailableError  the Hub can't be reached, or its files can't be saved on this machine
    ├── LimitError               a visitor, or all together, asked for more than the operator allows
    ├── OutputError              standard output is closed, or its disk is full
    ├── PhotoError               the bytes aren't a photo that can be used
    ├── EncoderError             the image encoder can't be loaded, or can't embed a picture
    ├── GalleryError             the gallery is missing, damaged or can't be read
    │   └── GalleryMismatchError the gallery was made with another encoder than the one loaded
    └── LMMError                 a large multimodal model gave no reply that can be used
        ├── LMMRateLimitError    too many requests
        ├── LMMTimeoutError      no reply in time
        ├── LMMCancelledError    the caller has left before the reply came
        ├── LMMServerError       the provider reports an error of its own
        ├── LMMRejectedError     the provider rejects the request: a wrong key, no credit, an unknown model
        └── LMMUnreachableError  no connection, or one that broke off before the reply was complete

A message is one sentence or two: what is wrong, where, and what to do next. It never holds a key.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_QUOTED_CHARS = 100


class Img2LocError(Exception):
    """Root of all errors that are meant to be read by a person."""


class AddressError(Img2LocError):
    """An address that a stranger gave is not on the public internet, or gives no photo."""


class ConfigError(Img2LocError):
    """A setting, an argument or a name is wrong."""


class MissingKeyError(ConfigError):
    """A backend needs a key and has none. The message itself, for the command line, names the environment variable."""

    def __init__(self, provider: str, variable: str) -> None:
        super().__init__(f"{provider} needs a key; set {variable}.")
        header = "x-hf-token" if variable == "HF_TOKEN" else "x-openai-api-key"
        self.on_page = f"{provider} needs a key; enter yours in its key field."
        self.in_api = f"{provider} needs a key; send yours in the header {header}."


class DataError(Img2LocError):
    """A data set, predictions or a journal of the evaluation can't be used."""


class HubError(Img2LocError):
    """Files of the Hugging Face Hub can't be had."""


class HubUnavailableError(HubError):
    """The Hub can't be reached, or its files can't be saved on this machine."""


class LimitError(Img2LocError):
    """A visitor, or all together, asked for more than the operator allows."""


class OutputError(Img2LocError):
    """Standard output can't be written: it is closed, or its disk is full."""


class PhotoError(Img2LocError):
    """The bytes aren't a photo that can be used."""


class EncoderError(Img2LocError):
    """The image encoder can't be loaded, or can't embed a picture."""


class GalleryError(Img2LocError):
    """The gallery is missing, damaged or can't be read."""


class GalleryMismatchError(GalleryError):
    """The gallery was made with another encoder than the one loaded."""


class LMMError(Img2LocError):
    """A large multimodal model gave no reply that can be used.

    Args:
        message: What a person should know.
        retry_after_s: How long the provider asks to wait before the next request; None where it says nothing.
        may_be_billed: Whether the provider may bill the request all the same; None for what holds for the class.
        input_tokens: As counted by the provider; None where it gives no believable number.
        output_tokens: Likewise.
    """

    may_be_billed = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        may_be_billed: bool | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        if may_be_billed is not None:
            self.may_be_billed = may_be_billed
        self.input_tokens, self.output_tokens = input_tokens, output_tokens


class LMMRateLimitError(LMMError):
    """The provider refuses further requests for now."""

    may_be_billed = False


class LMMTimeoutError(LMMError):
    """The model did not reply in time."""


class LMMCancelledError(LMMError):
    """The caller has left before the reply came."""


class LMMServerError(LMMError):
    """The provider reports an error of its own."""

    may_be_billed = False


class LMMRejectedError(LMMError):
    """The provider rejects the request, which would fail again."""

    may_be_billed = False


class LMMUnreachableError(LMMError):
    """The provider can't be reached, or the connection broke off before the reply was complete."""

    may_be_billed = False


def page_message(error: Exception) -> str:
    """Describe a failure for a visitor of the page."""
    return error.on_page if isinstance(error, MissingKeyError) else describe_failure(error)


def api_message(error: Exception) -> str:
    """Describe a failure for a program."""
    return error.in_api if isinstance(error, MissingKeyError) else describe_failure(error)


def describe_failure(error: Exception) -> str:
    """Describe why one photo failed.

    An unexpected error isn't quoted, since its text may hold a key: only its class and its line are named.
    """
    if isinstance(error, Img2LocError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"An unexpected error stopped this photo ({type(error).__name__}{where}). Please report it."


def quoted(value: object) -> str:
    """Quote a wrong value in a message, shortened."""
    text = repr(value)
    return text if len(text) <= MAX_QUOTED_CHARS else f"{text[:MAX_QUOTED_CHARS]}..."


def first_fault(error: ValidationError) -> str:
    """Say in one line which part of some JSON is wrong, without pydantic's links."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, shortened; its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
