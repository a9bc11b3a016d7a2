"""What strangers may make Gradio do with addresses: fetch a photo from the public internet, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import re
import threading
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import gradio as gr
import httpx
from gradio import processing_utils
from gradio.processing_utils import PUBLIC_HOSTNAME_WHITELIST
from gradio.utils import get_upload_folder, is_in_or_equal
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from img2loc.errors import AddressError, PhotoError
from img2loc.hardening.addresses import public_address
from img2loc.system.environment import check_certificates

FETCH_S: Final = 20.0
MAX_FETCHES: Final = 16  # at once; each holds a place in Gradio's queue
# Routes of Gradio's that would pass on any amount of any public address's content to anybody; run ffmpeg on any file
# outside the queue; take files into memory for components that this page doesn't have; send requests to other Spaces;
# and keep forever what a visitor did, for everybody with the link. Nothing here needs them.
_CLOSED: Final = re.compile(r"/(?:file[=/]https?:|process_recording|component_server|deep_link|proxy=)")


class PhotoTransport(httpx.AsyncBaseTransport):
    """How Gradio fetches files that clients name by address; it follows redirects one by one.

    Gradio's own transport bounds neither size nor time, decompresses, and takes some networks of clouds for public. No
    proxy is used: it would look the name up again, and might be inside the private network.

    Args:
        max_bytes: The largest file.

    Raises:
        ConfigError: The certificates that the environment names can't be loaded.
    """

    def __init__(self, max_bytes: int) -> None:
        check_certificates()
        self._max_bytes = max_bytes
        self._tls = httpx.create_ssl_context()  # made once: it takes longer than fetching most photos
        self._slots = threading.BoundedSemaphore(MAX_FETCHES)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Fetch a file of at most a photo's size from a public address, or from the disk if it was uploaded here.

        Raises:
            gr.Error: It can't be fetched; the message says why.
        """
        if uploaded := _uploaded_file(request.url):
            return httpx.Response(200, content=await asyncio.to_thread(uploaded.read_bytes))
        host = request.url.raw_host.decode("ascii")
        if not self._slots.acquire(blocking=False):
            reason = "Too many photos are being fetched; send the photo itself, or try again in a minute."
            raise gr.Error(reason, print_exception=False)
        try:
            async with asyncio.timeout(FETCH_S):
                return await self._fetch(request, host)
        except AddressError as error:
            reason = str(error)
        except TimeoutError:
            reason = f"{host[:100]} didn't send the whole photo within {FETCH_S:.0f} s. Send the photo itself instead."
        except httpx.HTTPError:
            reason = f"{host[:100]} can't be reached. Check the photo's address, or send the photo itself."
        finally:
            self._slots.release()
        raise gr.Error(reason, print_exception=False)

    async def _fetch(self, request: httpx.Request, host: str) -> httpx.Response:
        # Inside a Space the Hub's own names lead to private addresses.
        is_trusted = any(fnmatchcase(host, name) for name in PUBLIC_HOSTNAME_WHITELIST)
        address = host if is_trusted else await asyncio.to_thread(public_address, host)
        direct = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers={"Host": request.headers["Host"], "Accept-Encoding": "identity"},
            extensions={"sni_hostname": host},
        )
        body = bytearray()
        async with httpx.AsyncHTTPTransport(verify=self._tls) as connection:
            response = await connection.handle_async_request(direct)
            if not response.has_redirect_location:
                if response.status_code != 200:
                    raise AddressError(f"{host[:100]} has no photo at this address (HTTP {response.status_code}).")
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > self._max_bytes:
                        raise AddressError(f"The file at {host[:100]} is larger than {self._max_bytes / 1e6:.0f} MB.")
        headers = {name: value for name, value in response.headers.items() if name in ("location", "content-type")}
        return httpx.Response(response.status_code, headers=headers, content=bytes(body))


def _uploaded_file(url: httpx.URL) -> Path | None:
    """The uploaded file behind one of Gradio's addresses, as its upload tool gives them to agents."""
    _, is_file, path = url.path.partition("/gradio_api/file=")
    file = Path(path)
    return file if is_file and is_uploaded(path) and file.is_file() else None


def is_uploaded(path: str) -> bool:
    """Whether a path leads into the upload folder.

    Raises:
        ValueError: No file can have such a path.
    """
    return is_in_or_equal(path, get_upload_folder())


def is_data_uri(text: str) -> bool:
    """Whether a text is a data: URI in base64, whatever it holds."""
    head, _, data = text.partition(",")
    with suppress(ValueError):  # binascii.Error, or a character outside of ASCII
        return head.startswith("data:") and head.endswith(";base64") and bool(base64.b64decode(data))
    return False


def save_photo(source: str) -> str:
    """Bring a photo into the upload folder.

    Args:
        source: The path of an uploaded file, an http(s) address or a data: URI.

    Returns:
        The path of the file.

    Raises:
        PhotoError: It can't be had, or is something else.
    """
    if source.startswith("data:") and not is_data_uri(source):
        raise PhotoError("The photo's data: URI must hold the whole file in base64, as data:image/jpeg;base64,...")
    try:
        if source.startswith(("http://", "https://")):
            return processing_utils.save_url_to_cache(source, get_upload_folder())
        if source.startswith("data:"):
            return processing_utils.save_base64_to_cache(source, get_upload_folder())
    except gr.Error as error:
        raise PhotoError(str(error.message)) from None
    except Exception as error:  # Gradio raises whatever its libraries do
        raise PhotoError("The photo's address can't be read. Check it for typing errors.") from error
    if not is_uploaded(source):
        raise PhotoError("A photo must be an uploaded file, an http(s) address or a data: URI.")
    return source


class ClosedRoutes:
    """Middleware that answers 404 for routes of Gradio's that nothing here needs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        is_closed = scope["type"] == "http" and _CLOSED.search(scope["path"])
        app = PlainTextResponse("This site doesn't offer that.", status_code=404) if is_closed else self._app
        await app(scope, receive, send)


class UncachedAnswers:
    """Middleware that keeps browsers and proxies from storing photos and answers; the page's files may be stored."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""

        async def send_uncached(message: Message) -> None:
            if message["type"] == "http.response.start" and "/gradio_api/" in scope["path"]:
                MutableHeaders(scope=message)["Cache-Control"] = "private, no-store"
            await send(message)

        await self._app(scope, receive, send_uncached)
