"""Hugging Face Inference Providers: open models run by many companies, behind one address and one token."""

from __future__ import annotations

import re
from typing import Any

import httpx2
from huggingface_hub import InferenceClient, constants
from huggingface_hub.errors import HfHubHTTPError

from img2loc.errors import ConfigError, MissingKeyError
from img2loc.lmm.base import BackendOptions
from img2loc.lmm.chat import ChatLMM, Failure, host_of, retry_after_s
from img2loc.lmm.request import Parameters, response_format
from img2loc.lmm.retry import in_thread

_MODEL = re.compile(r"\w[\w.-]*/\w[\w.-]*(?::[\w-]+)?", re.ASCII)


class HuggingFaceLMM(ChatLMM):
    """A model behind Hugging Face's router.

    Args:
        options: Token, model (as owner/name, with ":provider" after it to choose who runs it) and time-out; a base_url
            is that of a dedicated endpoint. A token that lies on this machine is never looked for.
        default_model: The model where the options name none.

    Raises:
        MissingKeyError: There is no token.
        ConfigError: The address is no http(s) address, or a stranger's; or the model's name or the token can't be one.
    """

    name = "hf"

    def __init__(self, options: BackendOptions, *, default_model: str) -> None:
        url = options.base_url.strip()
        host = host_of(url) if url else "Hugging Face"
        parameters = Parameters(temperature=options.temperature, limit_name="max_tokens", renamed=True)
        super().__init__(options, model=options.model.strip() or default_model, host=host, parameters=parameters)
        if not self._key:
            raise MissingKeyError(
                "Hugging Face needs a token and there is none; sign in or enter yours in the page's key field, "
                "or set HF_TOKEN where the program runs."
            )
        if not url and not self._key.startswith("hf_"):  # the package would say so at the first request only
            raise ConfigError("That is no token of Hugging Face's, which begin with hf_; copy it again.")
        if not url and not _MODEL.fullmatch(self.model):  # an address here, the package would ask in the router's place
            raise ConfigError("That is no model's name at Hugging Face; write owner/name, or owner/name:provider.")
        if url and options.public_only:
            raise ConfigError("For a server of your own choose the backend openai; hf asks Hugging Face alone.")
        constants.HF_HUB_DISABLE_TELEMETRY = True  # or it asks the Hub for a list of agents, and tells it who runs it
        self._url = url or None  # None for the router, which chooses among those who run the model

    def send(self, messages: list[dict[str, Any]], parameters: Parameters, timeout_s: float) -> object | Failure:
        """Send one request, without retries."""
        # A client of our own a request, for its time-out. Its connections are the package's, shared by all: a request
        # that we leave can't be closed, and its thread lives on until the server has finished.
        client = InferenceClient(base_url=self._url, api_key=self._key, timeout=timeout_s)
        form = response_format(parameters.letters) if parameters.schema else None
        try:
            return in_thread(
                lambda: client.chat_completion(
                    messages,
                    model=self.model,
                    max_tokens=parameters.limit,
                    temperature=parameters.temperature,
                    response_format=form,  # type: ignore[arg-type]
                ),
                timeout_s=timeout_s,
                cancel=self._cancel,
            )
        except TimeoutError:  # the package's own is one too
            return Failure("timeout")
        except HfHubHTTPError as error:
            response = error.response
            return Failure(
                "status",
                status=response.status_code,
                code=_code(response),
                text=error.server_message or "",
                retry_after_s=retry_after_s(response.headers),
            )
        except httpx2.HTTPError:
            return Failure("connection")
        except (ValueError, TypeError, AttributeError):  # a body that is no JSON, or JSON of another shape
            return Failure("garbage")


def _code(response: httpx2.Response) -> str:
    """The provider's own code for an error, in OpenAI's shape; empty where there is none."""
    try:
        error = response.json()["error"]
        return str(error["code"] or "")
    except (ValueError, KeyError, TypeError):
        return ""
