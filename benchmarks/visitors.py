"""Visitors of a running app over its true protocols: the client API, and the page's own events."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.provider import MarkedPhoto, position_of, reasoning_of

PATIENCE_S = 180.0  # an answer that has not come by then is lost


class Refused(Exception):
    """The app said no, in words for a person."""


@dataclass(frozen=True)
class Page:
    """What a browser learns of the page when it loads it.

    Args:
        events: The numbers of its events.
        key_fields: How many fields for keys each tab has.
        key_labels: Their labels, which go with what stands in them.
    """

    events: dict[str, int]
    key_fields: int
    key_labels: str

    @classmethod
    def read(cls, config: dict[str, Any]) -> Page:
        """Find the events in the page's configuration: by name for the API, by what they fill for the page."""
        names = {item["id"]: item["props"].get("elem_id") for item in config["components"]}
        filled = {
            "answer": "locate",
            "compare-answers": "compare",
            "batch-answers": "locate_all",
            "key-openai": "take_keys",
        }
        events = {}
        for event in config["dependencies"]:
            if event["api_visibility"] == "public":
                events[f"/{event['api_name']}"] = event["id"]
            elif event["targets"][0][1] in ("click", "success"):
                for number in event["outputs"]:
                    if (name := filled.get(names[number])) and len(event["inputs"]) > 0:
                        events.setdefault(name, event["id"])
        values = {item["id"]: item["props"].get("value") for item in config["components"]}
        taking = next(event for event in config["dependencies"] if event["id"] == events["take_keys"])
        _, labels, *boxes = taking["inputs"]
        return cls(events, len(boxes), str(values[labels]))


@dataclass
class Visitor:
    """One who asks, with a key, a network address and a session of their own.

    Args:
        http: The connection to the app.
        number: Which visitor.
        page: What the page offers.
        session: What Gradio knows this visitor by; a session's requests go one after another.
        key: The visitor's own key; empty for who leaves paying to the operator.
        event: The last request to the client API.
        calls: How many there were: each has a session of its own, as those of programs have.
    """

    http: httpx.AsyncClient
    number: int
    page: Page
    session: str
    key: str = ""
    event: str = ""
    calls: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """What comes with each request: the address as a proxy gives it, and the key."""
        own = {"x-openai-api-key": self.key} if self.key else {}
        return {"x-forwarded-for": f"198.51.{self.number // 250}.{self.number % 250 + 1}", **own}

    @property
    def _call_session(self) -> str:
        return f"{self.session}.{self.calls}"

    async def upload(self, *photos: MarkedPhoto) -> list[dict[str, Any]]:
        """Send photos.

        Returns:
            What stands for each in a request.
        """
        files = [("files", (photo.path.name, photo.path.read_bytes())) for photo in photos]
        answer = await self.http.post("gradio_api/upload", files=files, headers=self.headers)
        answer.raise_for_status()
        return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in answer.json()]

    async def join(self, name: str, data: Sequence[Any]) -> None:
        """Send a request to the client API.

        Raises:
            Refused: The queue is full.
        """
        self.calls += 1
        body = {"data": list(data), "session_hash": self._call_session}
        answer = await self.http.post(f"gradio_api/call/{name}", json=body, headers=self.headers)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise Refused(answer.json()["detail"])
        answer.raise_for_status()
        self.event = answer.json()["event_id"]

    @asynccontextmanager
    async def listen(self, name: str) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """Follow a request to the client API; leaving hangs up."""
        async with self.http.stream("GET", f"gradio_api/call/{name}/{self.event}", headers=self.headers) as stream:

            async def messages() -> AsyncIterator[tuple[str, Any]]:
                kind = ""
                async for line in stream.aiter_lines():
                    if line.startswith("event: "):
                        kind = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        yield kind, json.loads(line.removeprefix("data: "))

            yield messages()

    async def call(self, name: str, data: Sequence[Any]) -> dict[str, Any]:
        """Ask the client API.

        Returns:
            The result.

        Raises:
            Refused: The app said no.
            ConnectionError: No answer came.
        """
        await self.join(name, data)
        async with self.listen(name) as messages:
            async for kind, content in messages:
                if kind == "complete":
                    return dict(content[0])
                if kind == "error":
                    raise Refused(str(content["error"] if isinstance(content, dict) else content))
        raise ConnectionError(f"/{name} ended without an answer")

    async def cancel(self, name: str) -> None:
        """Tell the app that an answer is no longer wanted."""
        number = self.page.events[f"/{name}"]
        body = {"session_hash": self._call_session, "fn_index": number, "event_id": self.event}
        (await self.http.post("gradio_api/cancel", json=body, headers=self.headers)).raise_for_status()

    async def act(self, event: str, data: Sequence[Any]) -> list[Any]:
        """Do on the page what a browser does when a button is pressed.

        Returns:
            What the event fills its elements with in the end.

        Raises:
            Refused: The app said no.
            ConnectionError: No answer came.
        """
        body = {
            "data": list(data),
            "fn_index": self.page.events[event],
            "session_hash": self.session,
            "trigger_id": None,
        }
        answer = await self.http.post("gradio_api/queue/join", json=body, headers=self.headers)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise Refused(answer.json()["detail"])
        answer.raise_for_status()
        where = f"gradio_api/queue/data?session_hash={self.session}"
        filled: list[Any] = []
        async with self.http.stream("GET", where, headers=self.headers) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith("data: "):
                    continue
                message = json.loads(line.removeprefix("data: "))
                if message["msg"] == "process_generating":
                    filled = _patched(filled, message["output"]["data"])
                elif message["msg"] == "process_completed":
                    if not message["success"]:
                        raise Refused(str(message["output"].get("error")))
                    return list(message["output"]["data"]) if not filled else filled
        raise ConnectionError(f"{event} on the page ended without an answer")


def _patched(before: list[Any], now: list[Any]) -> list[Any]:
    """What an event has filled its elements with so far: Gradio sends the first state, and then what changes in it."""
    return [_patch(old, new) for old, new in zip(before, now, strict=True)] if before else list(now)


def _patch(old: object, changes: object) -> object:
    """Apply the changes of a text; a figure's are of no interest here."""
    for action, path, value in changes if isinstance(changes, list) else []:
        if not path:
            old = old + value if action == "append" and isinstance(old, str) else value
    return old if isinstance(changes, list) else changes


def faults_of(prediction: dict[str, Any], photo: MarkedPhoto, *, asked: bool, known: dict[int, Any]) -> Iterator[str]:
    """Find what in a prediction is not this photo's.

    Args:
        prediction: As the client API gives it.
        photo: The one that was sent.
        asked: Whether a model was asked.
        known: What was found for the same photo before, by mark; added to.
    """
    nearest = [(item["row"], item["photo"]["id"]) for item in prediction["nearest"]]
    found = nearest, [item["row"] for item in prediction["farthest"]], prediction["vote"]["position"]
    if nearest[0][1] != photo.base:
        yield f"photo {photo.mark} of {photo.base} got {nearest[0][1]} for its nearest neighbour"
    if known.setdefault(photo.mark, found) != found:
        yield f"photo {photo.mark} got other neighbours than before"
    if not asked:
        if prediction["outcome"] is not None or prediction["method"] != "vote":
            yield f"photo {photo.mark} was for the vote, and a model answered"
        return
    outcome, place = prediction["outcome"], position_of(photo.mark)
    if outcome is None or outcome["kind"] != "answered":
        yield f"photo {photo.mark} got no answer: {outcome and outcome['message']}"
    elif outcome["reasoning"] != reasoning_of(photo.mark, prediction["prompt"]):
        yield f"photo {photo.mark} got the reasoning {outcome['reasoning']!r}"
    elif prediction["position"] != {"lat": place.lat, "lon": place.lon}:
        yield f"photo {photo.mark} got the position {prediction['position']}"


def faults_of_page(text: str, reasoning: str, photo: MarkedPhoto, prompt: str) -> Iterator[str]:
    """Find what on the page is not this photo's.

    Args:
        text: The answer as HTML.
        reasoning: The model's, as shown.
        photo: The one that was sent.
        prompt: The prompt as shown.
    """
    if str(position_of(photo.mark)) not in text:
        yield f"photo {photo.mark} got another position on the page"
    if reasoning != reasoning_of(photo.mark, prompt):
        yield f"photo {photo.mark} got the reasoning {reasoning!r} on the page"


def marks_in(html: str) -> set[int]:
    """The marks that a piece of the page speaks of."""
    return {int(number) for number in re.findall(r"Mark (\d+), prompt", html)}
