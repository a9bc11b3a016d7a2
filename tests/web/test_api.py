"""The client API, called as programs call it: gradio_client against the app on loopback."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from pydantic import TypeAdapter

from img2loc import __version__
from img2loc.geo.sphere import haversine_km
from img2loc.locator import Locator
from img2loc.output import schema as api
from img2loc.policy.settings import Settings
from img2loc.types import LatLon, Neighbour, Outcome, OutcomeKind, Place, Prediction, Reply, Retrieval, Vote
from img2loc.web.api.endpoints import Endpoints
from img2loc.web.gallery_loader import Host
from img2loc.web.site import Site
from tests.fakes.app_process import AppProcess
from tests.fakes.openai_server import KEY, OpenAIServer

SCHEMA = Path(__file__).parent / "data" / "api_schema.json"
TOWER = gradio.get_image("tower.jpg")
PARIS = LatLon(48.8584, 2.2945)


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture(scope="module")
def address(provider: OpenAIServer) -> Iterator[str]:
    with AppProcess(IMG2LOC_OPENAI_BASE_URL=provider.base_url, IMG2LOC_TIMEOUT_S="5") as app:
        yield app.address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with_key = Client(address, headers={"x-openai-api-key": KEY}, verbose=False, analytics_enabled=False)
    yield with_key
    with_key.close()


def bare(schema: Any) -> Any:
    """A schema without its prose, which may change."""
    if isinstance(schema, list):
        return [bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    prose = ("description", "title", "additional_description")
    return {name: bare(value) for name, value in schema.items() if name not in prose or not isinstance(value, str)}


def test_the_api_is_what_it_was(address: str):
    """Clients rely on each name. To change one: UPDATE_API_SCHEMA=1 python -m pytest tests/web/test_api.py."""
    info = httpx.get(f"{address}gradio_api/info").json()
    assert info["unnamed_endpoints"] == {}
    now = {
        name: {
            "parameters": {
                parameter["parameter_name"]: {
                    "type": bare(parameter["type"]),
                    "default": parameter["parameter_default"],
                    "required": not parameter["parameter_has_default"],
                }
                for parameter in endpoint["parameters"]
            },
            "returns": [bare(value["type"]) for value in endpoint["returns"]],
        }
        for name, endpoint in info["named_endpoints"].items()
    }
    if os.environ.get("UPDATE_API_SCHEMA"):
        SCHEMA.write_text(json.dumps(now, indent=1) + "\n")
    assert now == json.loads(SCHEMA.read_text())


def test_locate_finds_the_tower(client: Client, starter: Locator):
    result = client.predict(photo=handle_file(TOWER), api_name="/locate")
    TypeAdapter(api.LocateJson).validate_python(result)
    assert result["method"] == "vote" and result["outcome"] is None and result["prompt"] == ""
    assert haversine_km(LatLon(**result["position"]), PARIS) < 10
    assert (result["place"]["city"], result["place"]["country_code"]) == ("Paris", "FR")
    assert [n["rank"] for n in result["nearest"]] == list(range(1, 17)) == [n["rank"] for n in result["farthest"]]
    assert result["nearest"][0]["similarity"] > result["nearest"][1]["similarity"]
    assert result["gallery"]["count"] == starter.gallery.manifest.count
    assert {"embed", "search", "vote", "place"} <= set(result["timings"])


def test_neighbours_alone(client: Client):
    result = client.predict(photo=handle_file(TOWER), nearest=3, farthest=0, api_name="/neighbours")
    TypeAdapter(api.NeighboursJson).validate_python(result)
    assert len(result["nearest"]) == 3 and result["farthest"] == []


def test_a_batch_keeps_the_order_and_loses_no_photo_to_another(client: Client, tmp_path: Path):
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(b"\xff\xd8\xff\xe0 torn")
    photos = [handle_file(TOWER), handle_file(torn), handle_file(TOWER)]
    result = client.predict(photos=photos, nearest=1, farthest=0, api_name="/locate_batch")
    TypeAdapter(api.BatchJson).validate_python(result)
    assert [item["photo"] for item in result["results"]] == ["tower.jpg", "torn.jpg", "tower.jpg"]
    first, second, third = result["results"]
    assert first["prediction"]["place"]["city"] == "Paris" and len(first["prediction"]["nearest"]) == 1
    assert second["prediction"] is None and "damaged" in second["error"] and first["error"] == ""
    assert third["prediction"]["position"] == first["prediction"]["position"]


@pytest.mark.parametrize(
    ("photos", "backend", "words"),
    [(0, "vote", "No photos were sent"), (51, "vote", "at most 50"), (1, "oracle", "oracle")],
)
def test_a_batch_that_cannot_be_gets_a_sentence(
    host: Host, monkeypatch: pytest.MonkeyPatch, photos: int, backend: str, words: str
):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(Path(TOWER).parent))  # as if it had been uploaded
    with pytest.raises(gradio.Error, match=words):
        Endpoints(Site(host, Settings())).locate_batch([TOWER] * photos, backend=backend)


def test_backends_say_what_may_be_asked(client: Client, provider: OpenAIServer):
    result = client.predict(api_name="/backends")
    TypeAdapter(api.BackendsJson).validate_python(result)
    found = {item["name"]: item for item in result["backends"]}
    assert list(found) == ["vote", "openai", "hf"] and result["prompts"][0] == "paper"
    assert (found["vote"]["key_needed"], found["vote"]["models"]) == (False, [])
    assert found["openai"]["key_header"] == "x-openai-api-key" and found["hf"]["key_needed"]
    assert found["openai"]["label"] in provider.base_url  # whom that key goes to
    assert [item["name"] for item in result["servers"]] == ["openai", "openrouter", "gemini", "anthropic"]


def test_info_says_which_gallery_answers_and_how(client: Client, starter: Locator):
    result = client.predict(api_name="/info")
    TypeAdapter(api.InfoJson).validate_python(result)
    assert result["version"] == __version__ and result["schema_version"] == 1
    assert result["gallery"]["count"] == starter.gallery.manifest.count and result["about"]
    assert result["limits"]["hourly_total"] is None and result["limits"]["photos_a_batch"] == 50


BANNER = "Kept by the <library>."


@pytest.fixture(scope="module")
def bounded(provider: OpenAIServer) -> Iterator[str]:
    """A site whose operator pays for two photos a visitor, and tells no more than the city."""
    bounds = {
        "IMG2LOC_OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": KEY,
        "IMG2LOC_BACKENDS": "vote,openai",
        "IMG2LOC_MODELS": "small",
        "IMG2LOC_HOURLY_PER_VISITOR": "2",
        "IMG2LOC_PRECISION": "city",
        "IMG2LOC_BANNER": BANNER,
    }
    with AppProcess(**bounds) as app:
        yield app.address


def test_the_operators_bounds_hold_for_programs(bounded: str, provider: OpenAIServer):
    def ask(address: str, **how: Any) -> Any:
        headers = {"x-forwarded-for": address, "x-gradio-user": "mcp"}  # as anybody can write them
        client = Client(bounded, headers=headers, verbose=False, analytics_enabled=False)
        try:
            return client.predict(photo=handle_file(TOWER), **how, api_name="/locate")
        finally:
            client.close()

    provider.enqueue("good", "good")
    found = ask("8.8.8.8", backend="openai")
    assert found["method"] == "lmm" and provider.requests[-1].body["model"] == "small"
    ask("8.8.4.4", backend="openai")
    with pytest.raises(AppError, match="You've used your 2 model answers for this hour"):
        ask("1.1.1.1", backend="openai")
    with pytest.raises(AppError, match="backend must be one of: vote, openai; the text 'hf' was sent"):
        ask("8.8.8.8", backend="hf")
    # Nothing finer than the city: not the position, the neighbours, the prompt, or the reply.
    assert found["position"] == ask("8.8.8.8")["position"] != {"lat": 48.8584, "lon": 2.2945}
    assert found["place"]["city"] == "Paris" and found["radius_km"] == 25.0
    assert "48.8584" not in json.dumps(found) and "2.2945" not in json.dumps(found)
    info = ask_info(bounded)
    assert info["precision"] == found["precision"] == "city" and info["banner"] == BANNER
    assert (info["limits"]["hourly_per_visitor"], info["limits"]["models"]) == (2, ["small"])
    paid = ask_info(bounded, "/backends")["backends"][1]
    assert (paid["name"], paid["models"], paid["key_needed"]) == ("openai", ["small"], False)


def ask_info(address: str, api_name: str = "/info") -> Any:
    client = Client(address, verbose=False, analytics_enabled=False)
    try:
        return client.predict(api_name=api_name)
    finally:
        client.close()


def test_a_model_answers_with_the_key_of_the_header(client: Client, provider: OpenAIServer):
    provider.enqueue("good")
    result = client.predict(
        photo=handle_file(TOWER), backend="openai", model="some-model", nearest=2, farthest=1, api_name="/locate"
    )
    assert result["method"] == "lmm" and result["outcome"]["kind"] == "answered" and result["radius_km"] is None
    assert result["position"] == {"lat": 48.8584, "lon": 2.2945}
    request = provider.requests[-1]
    assert request.key == KEY and request.body["model"] == "some-model" and request.prompt == result["prompt"]
    assert KEY not in json.dumps(result)


def test_a_failing_model_leaves_the_votes_position(client: Client, provider: OpenAIServer):
    provider.enqueue("refusal")
    result = client.predict(photo=handle_file(TOWER), backend="openai", api_name="/locate")
    assert result["method"] == "vote" and result["outcome"]["kind"] == "refused" and result["outcome"]["message"]
    assert result["outcome"]["position"] is None and result["position"] == result["vote"]["position"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"backend": "crystal ball"}, "crystal ball"),
        ({"nearest": 51}, "0 to 50"),
        ({"farthest": -1}, "0 to 50"),
        ({"nearest": "many"}, "0 to 50"),
        ({"nearest": 2.5}, "0 to 50"),
        ({"prompt": "only $nearest"}, "$"),
        ({"prompt": 7}, "prompt"),
        ({"photo": None}, "photo"),
    ],
)
def test_wrong_arguments_get_a_sentence(client: Client, arguments: dict[str, Any], word: str):
    with pytest.raises(AppError) as caught:
        client.predict(**{"photo": handle_file(TOWER), **arguments, "api_name": "/locate"})
    assert word in str(caught.value) and "Traceback" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\xff\xd8\xff\xe0 torn", b"<svg/>"])
def test_wrong_files_get_a_sentence(client: Client, tmp_path: Path, content: bytes):
    file = tmp_path / "photo.jpg"
    file.write_bytes(content)
    with pytest.raises(AppError) as caught:
        client.predict(photo=handle_file(file), api_name="/locate")
    assert any(word in str(caught.value) for word in ("picture", "empty", "damaged")), caught.value


def test_no_file_of_the_server_can_be_read(address: str):
    """Only uploads are taken: a path on the server, as a client could make one up, is refused."""
    payload = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
    with httpx.Client(base_url=f"{address}gradio_api/call/", timeout=20) as http:
        event = http.post("neighbours", json={"data": [payload, 1, 1]}).json()["event_id"]
        assert "event: error" in http.get(f"neighbours/{event}").text


def test_without_a_key_the_sentence_says_what_to_do(host: Host):
    with pytest.raises(gradio.Error, match="key"):
        Endpoints(Site(host, Settings())).locate(TOWER, backend="openai")


def outcomes() -> Prediction:
    paris = Neighbour(3, PARIS, 0.5)
    reply = Reply("{}", "some-model", 0.5)
    return Prediction(
        PARIS,
        None,
        "lmm",
        Place("Paris", "France", "FR", 1.0),
        Vote(PARIS, 5.0, 16),
        Retrieval((paris,), ()),
        "prompt",
        Outcome(OutcomeKind.REPAIRED, PARIS, "Paris", "a tower", "", (reply, reply)),
        (("embed", 0.1),),
    )


def test_a_prediction_as_json():
    result = api.prediction_json(outcomes())
    assert json.loads(json.dumps(result)) == result
    assert result["outcome"]["kind"] == "repaired" and result["outcome"]["model"] == "some-model"
    assert result["nearest"] == [
        {"rank": 1, "row": 3, "similarity": 0.5, "position": {"lat": 48.8584, "lon": 2.2945}, "photo": None}
    ]
    assert result["timings"] == {"embed": 0.1}


def test_nothing_known_as_json():
    result = api.prediction_json(Prediction(None, None, "none", None, None, Retrieval((), ()), "", None, ()))
    assert result["position"] is result["vote"] is result["place"] is result["outcome"] is None
