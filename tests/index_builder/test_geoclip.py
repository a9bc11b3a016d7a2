"""GeoCLIP's gallery: its embeddings by the paper's formulas, its head behind CLIP, and words for every wrong wheel."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
import transformers
from PIL import Image
from safetensors import safe_open

from img2loc.errors import ConfigError, GalleryMismatchError
from img2loc.geo.sphere import arc_km, unit_vectors
from img2loc.locator import Locator
from img2loc.retrieval.encoders import DEFAULT_ENCODER, PINNED_REVISIONS, open_encoder
from img2loc.retrieval.gallery import open_gallery
from img2loc.retrieval.location_encoder import PLANE_SCALE, equal_earth, read_location
from img2loc.retrieval.manifest import HEAD, INDEX, LOCATION, MANIFEST, POSITIONS, RECORDS
from img2loc.types import LatLon
from index_builder.__main__ import main
from index_builder.stages import geoclip
from index_builder.stages.geoclip import build_geoclip, download_wheel, embed_positions, query_encoder, read_wheel
from index_builder.stages.index import Label, Networks, Output, write_gallery
from index_builder.storage.rows import from_memory
from tests.retrieval.test_gallery import head_of, unit

UNREADABLE_LOCATION = (KeyError, IndexError, ValueError, ArithmeticError, RuntimeError, safetensors.SafetensorError)
COUNT = 300
SIGMAS = (1, 16, 256)
LOGIT_SCALE_OF_THE_REAL_ONE = 3.6810
CORNERS = [(90, 0), (-90, 0), (90, -180), (0, 179.99999), (0, -180), (0, 0), (-41.3, 174.8), (48.8584, 2.2945)]
METADATA = "geoclip-1.3.0.dist-info/METADATA"
# As openai/clip-vit-large-patch14 publishes it.
CLIP_PROCESSOR = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}


def linear(rng, name, outputs, inputs):
    """A layer of random weights that keeps its input's scale, so that far places differ."""
    return {
        f"{name}.weight": torch.from_numpy(rng.normal(0, (2 / inputs) ** 0.5, (outputs, inputs)).astype(np.float32)),
        f"{name}.bias": torch.from_numpy(rng.normal(0, 0.1, outputs).astype(np.float32)),
    }


def saved(weights) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def wheel_files() -> dict[str, bytes]:
    """What GeoCLIP's wheel holds, with small random networks; the embedding and the head have the real size."""
    rng = np.random.default_rng(0)
    location: dict[str, torch.Tensor] = {}
    for i, sigma in enumerate(SIGMAS):
        name = f"LocEnc{i}"
        location[f"{name}.capsule.0.b"] = torch.from_numpy(rng.normal(0, sigma, (32, 2)).astype(np.float32))
        for part, shape in {"capsule.1": (48, 64), "capsule.3": (48, 48), "capsule.5": (48, 48)}.items():
            location |= linear(rng, f"{name}.{part}", *shape)
        location |= linear(rng, f"{name}.head.0", 512, 48)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, COUNT - len(CORNERS))))
    lon = rng.uniform(-180, 180, COUNT - len(CORNERS))
    rows = [*CORNERS, *zip(lat.tolist(), lon.tolist(), strict=True)]
    csv = "LAT,LON\n" + "".join(f"{lat:.6f},{lon:.6f}\n" for lat, lon in rows)
    return {
        geoclip.COORDINATES_FILE: csv.encode(),
        geoclip.LOCATION_FILE: saved(location),
        geoclip.LOGIT_FILE: saved(torch.tensor(LOGIT_SCALE_OF_THE_REAL_ONE)),
        geoclip.IMAGE_FILE: saved(linear(rng, "0", 768, 768) | linear(rng, "2", 512, 768)),
        geoclip.LICENCE_FILE: b"MIT License\n\nCopyright (c) 2024 Vicente Vivanco\n",
        METADATA: b"Metadata-Version: 2.4\nName: geoclip\nVersion: 1.3.0\n",
        METADATA.replace("METADATA", "WHEEL"): b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }


def write_wheel(folder, files) -> tuple:
    """A wheel and its sha256."""
    path = folder / "geoclip-1.3.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return write_wheel(tmp_path_factory.mktemp("wheel"), wheel_files())


@pytest.fixture(scope="module")
def release(wheel):
    return read_wheel(*wheel)


@pytest.fixture(scope="module")
def made(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("geoclip")
    build_geoclip(folder, wheel=wheel[0], sha256=wheel[1])
    return open_gallery(str(folder))


def load(file: bytes) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in torch.load(io.BytesIO(file), weights_only=True).items()}


def reference(positions, weights) -> np.ndarray:
    """GeoCLIP's location encoder in float64, written from the papers' formulas, one position and scale at a time."""
    a = (1.340264, -0.081106, 0.000893, 0.003796)
    rows = []
    for position in positions:
        phi, lam = np.radians(position.lat), np.radians(position.lon)
        t = np.arcsin(np.sin(phi) * np.sqrt(3) / 2)
        x = 2 * np.sqrt(3) * lam * np.cos(t)
        x /= 3 * (9 * a[3] * t**8 + 7 * a[2] * t**6 + 3 * a[1] * t**2 + a[0])
        y = t * (a[0] + a[1] * t**2 + t**6 * (a[2] + a[3] * t**2))
        v = np.array([x, y]) * 66.50336 / 180
        row = np.zeros(512)
        for i in range(3):
            w = {
                key.removeprefix(f"LocEnc{i}."): w.astype(np.float64) for key, w in weights.items() if f"Enc{i}" in key
            }
            angle = 2 * np.pi * (w["capsule.0.b"] @ v)
            h = np.concatenate([np.cos(angle), np.sin(angle)])
            for layer in ("capsule.1", "capsule.3", "capsule.5"):
                h = np.maximum(w[f"{layer}.weight"] @ h + w[f"{layer}.bias"], 0)
            row += w["head.0.weight"] @ h + w["head.0.bias"]
        rows.append(row / np.linalg.norm(row))
    return np.array(rows)


def test_embeddings_follow_the_papers_formulas(release):
    found = embed_positions(release.location, release.positions)
    assert found.dtype == np.float32 and found.shape == (COUNT, 512)
    expected = reference(release.positions, load(wheel_files()[geoclip.LOCATION_FILE]))
    assert np.abs(found - expected).max() < 1e-6


def test_the_gallery_tells_how_well_a_photo_fits_any_place(made):
    """By the file that lies with it, against float64; places that no row of the gallery stands for, too."""
    places = [LatLon(48.8584, 2.2945), LatLon(-90, 0), LatLon(90, 33), LatLon(12.5, 179.99999), LatLon(12.5, -180)]
    query = np.random.default_rng(5).normal(size=512)
    query = (query / np.linalg.norm(query)).astype(np.float32)
    weights = load(wheel_files()[geoclip.LOCATION_FILE])
    expected = reference(places, weights) @ query * math.exp(LOGIT_SCALE_OF_THE_REAL_ONE)
    found = made.location.fit(query, places)
    assert found.shape == (len(places),) and np.abs(found - expected).max() < 1e-4
    assert made.location is made.location and len(made.location.fit(query, [])) == 0
    assert open_gallery("starter").location is None


def test_a_spoiled_location_encoder_is_refused_with_words(made, tmp_path):
    weights = safetensors.torch.load_file(made.folder / LOCATION)
    for spoil, words in (
        (lambda w: w.pop("logit_scale"), "logit_scale"),
        (lambda w: w.pop("LocEnc0.capsule.1.bias"), "LocEnc0.capsule.1.bias"),
        (lambda w: w.update({"LocEnc0.capsule.1.bias": torch.zeros(3)}), "size mismatch"),
        (lambda w: w.clear(), "logit_scale"),
        (lambda w: w.update({"logit_scale": torch.tensor([1000.0])}), "math range error"),
        (lambda w: w.update({"logit_scale": torch.tensor([math.nan])}), "not finite"),
        (lambda w: w.update({"logit_scale": torch.zeros(2)}), "one element"),
        (lambda w: w.update({"LocEnc1.head.0.bias": torch.full((512,), math.inf)}), "not finite"),
        (lambda w: w["LocEnc1.capsule.1.weight"].mul_(1e38), "not finite"),  # too large at some places only
        (lambda w: w["LocEnc1.capsule.3.bias"][:1].fill_(-math.inf), "not finite"),
        (lambda w: w.update({"LocEnc1.head.0.weight": torch.zeros(512)}), "range"),
        (lambda w: w.update({"LocEnc1.capsule.0.b": torch.zeros(32, 3)}), "shape"),
        (lambda w: w.update({"LocEnc1.capsule.0.b": torch.zeros(31, 2)}), "shape"),
        (lambda w: [w.pop(name) for name in list(w) if name.startswith("LocEnc")], "non-empty"),
    ):
        spoiled = {name: tensor.clone() for name, tensor in weights.items()}
        spoil(spoiled)
        safetensors.torch.save_file(spoiled, tmp_path / "l.safetensors")
        with pytest.raises(UNREADABLE_LOCATION, match=words):
            read_location((tmp_path / "l.safetensors").read_bytes(), 512)
    with pytest.raises(UNREADABLE_LOCATION, match="header"):
        read_location(b"<html>", 512)
    with pytest.raises(UNREADABLE_LOCATION, match="mismatch"):
        read_location((made.folder / LOCATION).read_bytes(), 768)


@pytest.mark.parametrize("batch", [1, 7, COUNT, 4096])
def test_the_batch_changes_nothing_but_rounding(release, monkeypatch, batch):
    expected = embed_positions(release.location, release.positions)
    monkeypatch.setattr(geoclip, "BATCH", batch)
    assert np.abs(embed_positions(release.location, release.positions) - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("lat", "lon", "x", "y"),
    [
        (0, 0, 0, 0),
        # PROJ's own check of +proj=eqearth +R=6378137, to the centimetre.
        (0, 180, 17263256.84, 0),
        (0, -180, -17263256.84, 0),
        # By hand: theta is 60 degrees at the pole, which is a line of 0.592 times the equator's length.
        (90, 0, 0, 8402320.16),
        (-90, 0, 0, -8402320.16),
        (90, 180, 10227908.09, 8402320.16),
        (-90, -180, -10227908.09, -8402320.16),
    ],
)
def test_equal_earth_has_its_published_values(lat, lon, x, y):
    found = equal_earth(torch.tensor([[lat, lon]], dtype=torch.float64))[0] * 6378137
    assert found.tolist() == pytest.approx([x, y], abs=0.01)


def test_equal_earth_keeps_areas_and_fills_the_unit_plane():
    lat, lon = np.meshgrid(np.linspace(-89.5, 89.5, 60), np.linspace(-179.5, 179.5, 60))
    grid, step = torch.from_numpy(np.stack([lat.ravel(), lon.ravel()], axis=1)), 1e-4
    north, east = torch.tensor([[step, 0.0]]), torch.tensor([[0.0, step]])
    by_lat = (equal_earth(grid + north) - equal_earth(grid - north)) / np.radians(2 * step)
    by_lon = (equal_earth(grid + east) - equal_earth(grid - east)) / np.radians(2 * step)
    area = by_lon[:, 0] * by_lat[:, 1] - by_lon[:, 1] * by_lat[:, 0]
    assert area.numpy() == pytest.approx(np.cos(np.radians(lat.ravel())), abs=1e-5)
    edge = equal_earth(torch.tensor([[0.0, 180.0]], dtype=torch.float64)) * PLANE_SCALE
    assert edge[0, 0].item() == pytest.approx(1, abs=1e-5)


def test_the_gallery_says_what_it_is(made):
    manifest = made.manifest
    assert (manifest.count, manifest.dim, manifest.name) == (COUNT, 512, "geoclip-100k")
    assert set(manifest.files) == {INDEX, POSITIONS, HEAD, LOCATION} and not (made.folder / RECORDS).exists()
    assert manifest.recall["nearest"] > 0.99 and manifest.recall["farthest"] > 0.99
    assert "no photos" in manifest.about and manifest.licence.startswith("MIT")
    assert manifest.encoder == query_encoder((made.folder / HEAD).read_bytes())
    assert manifest.encoder.head == f"sha256:{manifest.files[HEAD].sha256}"
    assert (manifest.encoder.source, manifest.encoder.revision) == (DEFAULT_ENCODER, PINNED_REVISIONS[DEFAULT_ENCODER])


def test_the_head_is_geoclips_image_layers_and_carries_the_licence(made):
    layers = safetensors.torch.load(made.head)
    expected = load(wheel_files()[geoclip.IMAGE_FILE])
    assert {name: layer.shape for name, layer in layers.items()} == {
        "0.weight": (768, 768),
        "0.bias": (768,),
        "2.weight": (512, 768),
        "2.bias": (512,),
    }
    assert all((layers[name] == expected[name]).all() for name in expected)
    with safe_open(made.folder / HEAD, "numpy") as file:
        assert "Copyright (c) 2024 Vicente Vivanco" in file.metadata()["licence"]


def test_a_coordinates_own_embedding_finds_it_first(made, release):
    for row, embedding in enumerate(embed_positions(release.location, release.positions)):
        best = made.search(embedding, 1, 0).nearest[0]
        assert (best.row, best.photo) == (row, None)
        assert best.similarity == pytest.approx(1, abs=1e-3)
        position = release.positions[row]
        assert (best.position.lat, best.position.lon) == pytest.approx((position.lat, position.lon), abs=1e-4)


def test_building_again_gives_the_same_bytes_and_leaves_nothing_of_another_gallery(made, wheel, tmp_path):
    encoder = replace(made.manifest.encoder, head=f"sha256:{hashlib.sha256(head_of(3, 8)).hexdigest()}")
    rows = from_memory(unit(5, 8), [LatLon(0, 0)] * 5)
    write_gallery(Output(tmp_path, Label("older")), rows, Networks(encoder, head=head_of(3, 8)))
    with pytest.raises(ConfigError, match="already has a gallery, 'older' with 5 rows"):
        build_geoclip(tmp_path, wheel=wheel[0], sha256=wheel[1])
    build_geoclip(tmp_path, wheel=wheel[0], sha256=wheel[1], may_replace=True)
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, INDEX, POSITIONS, HEAD, LOCATION}
    assert all(
        (tmp_path / file).read_bytes() == (made.folder / file).read_bytes() for file in (MANIFEST, *made.manifest.files)
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A small random CLIP as the Hub's cache would hold it: CLIP ViT-L/14's processor and size of features."""
    folder = tmp_path_factory.mktemp("hub") / PINNED_REVISIONS[DEFAULT_ENCODER]
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=tower | {"vocab_size": 100, "max_position_embeddings": 8},
        vision_config=tower | {"image_size": 224, "patch_size": 56},
        projection_dim=768,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(CLIP_PROCESSOR), encoding="utf-8")
    return folder


def test_the_app_opens_it_with_clip_and_its_head(made, clip, tower, release, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "img2loc.retrieval.encoders.transformers.fetch", lambda *request: asked.append(request[:2]) or clip
    )
    # Nothing but the gallery is named: its encoder's description alone leads to CLIP, and fits what is loaded there.
    locator = Locator.open(str(made.folder))
    assert asked == [(DEFAULT_ENCODER, PINNED_REVISIONS[DEFAULT_ENCODER])]
    assert locator.encoder.spec == made.manifest.encoder and locator.encoder.dim == 512
    prediction = locator.locate(tower)
    # GeoCLIP's own way: CLIP's projected features as they are, two layers with ReLU between, then to unit length.
    pixels = transformers.CLIPImageProcessorPil.from_pretrained(clip)(images=[tower.image], return_tensors="pt")
    with torch.inference_mode():
        features = transformers.CLIPModel.from_pretrained(clip).eval().get_image_features(**pixels).pooler_output
    layers = load(wheel_files()[geoclip.IMAGE_FILE])
    query = layers["2.weight"] @ np.maximum(layers["0.weight"] @ features.numpy()[0] + layers["0.bias"], 0)
    query = (query + layers["2.bias"]) / np.linalg.norm(query + layers["2.bias"])
    exact = embed_positions(release.location, release.positions) @ query
    found = prediction.retrieval
    assert [n.similarity for n in found.nearest] == pytest.approx(np.sort(exact)[::-1][:16].tolist(), abs=2e-3)
    assert [n.similarity for n in found.farthest] == pytest.approx(np.sort(exact)[:16].tolist(), abs=2e-3)
    assert all(n.similarity == pytest.approx(exact[n.row], abs=2e-3) for n in (*found.nearest, *found.farthest))
    assert prediction.method == "vote" and prediction.position is not None
    with pytest.raises(GalleryMismatchError, match="head"):
        made.check_encoder(open_encoder(DEFAULT_ENCODER))


def test_the_command_line_downloads_builds_and_reports(wheel, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel[0].parent))
    monkeypatch.setattr(geoclip, "build_geoclip", partial(build_geoclip, sha256=wheel[1]))
    assert main(["geoclip", "--out", str(tmp_path / "gallery")]) == 0
    said = capsys.readouterr()
    assert f"{COUNT} x 512" in said.out and "embed: 100%" in said.err
    assert open_gallery(str(tmp_path / "gallery")).manifest.count == COUNT


def test_what_pip_cannot_download_gets_words(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert main(["geoclip", "--out", str(tmp_path / "gallery")]) == 1
    said = capsys.readouterr().err
    assert "pip can't download geoclip==1.3.0 (No matching distribution found" in said and "--wheel" in said
    assert not (tmp_path / "gallery").exists()


def test_another_wheel_is_refused_with_words(wheel, tmp_path, capsys):
    out = tmp_path / "gallery"
    for file, words in ((wheel[0], "instead of 08a93791166a"), (tmp_path / "no.whl", "No such file")):
        assert main(["geoclip", "--out", str(out), "--wheel", str(file)]) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["geoclip", "--out", str(tmp_path), "--wheel", str(wheel[0])]) == 2
    assert "of a gallery" in capsys.readouterr().err
    assert not out.exists()


def spoiled(case) -> dict[str, bytes]:
    files = wheel_files()
    location = torch.load(io.BytesIO(files[geoclip.LOCATION_FILE]), weights_only=True)
    if case == "a missing file":
        del files[geoclip.LOCATION_FILE]
    elif case == "a missing layer":
        del location["LocEnc1.capsule.3.weight"]
        files[geoclip.LOCATION_FILE] = saved(location)
    elif case == "another shape":
        location["LocEnc1.capsule.3.bias"] = torch.zeros(7)
        files[geoclip.LOCATION_FILE] = saved(location)
    elif case == "a scale that is none":
        files[geoclip.LOGIT_FILE] = saved(torch.zeros(3))
    elif case == "another head":
        files[geoclip.IMAGE_FILE] = saved({"0.weight": torch.zeros(2, 2)})
    elif case == "a pickle that runs code":
        files[geoclip.IMAGE_FILE] = saved({"0.weight": Image.new("RGB", (1, 1))})
    elif case == "weights cut short":
        files[geoclip.IMAGE_FILE] = files[geoclip.IMAGE_FILE][:1000]
    elif case == "swapped headers":
        files[geoclip.COORDINATES_FILE] = files[geoclip.COORDINATES_FILE].replace(b"LAT,LON", b"LON,LAT")
    elif case == "a latitude of 91":
        files[geoclip.COORDINATES_FILE] += b"91.0,0.0\n"
    elif case == "half a row":
        files[geoclip.COORDINATES_FILE] += b"12.0\n"
    return files


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("a missing file", "location_encoder_weights.pth"),
        ("a missing layer", "LocEnc1.capsule.3.weight"),
        ("another shape", "size mismatch"),
        ("a scale that is none", "no GeoCLIP"),
        ("another head", "image layers are 0.weight"),
        ("a pickle that runs code", "no GeoCLIP"),
        ("weights cut short", "no GeoCLIP"),
        ("swapped headers", "LON,LAT"),
        ("a latitude of 91", "not 91.0"),
        ("half a row", "no GeoCLIP"),
    ],
)
def test_a_wheel_with_other_things_in_it_is_refused(tmp_path, case, words):
    path, sha256 = write_wheel(tmp_path, spoiled(case))
    with pytest.raises(ConfigError, match=words):
        build_geoclip(tmp_path / "gallery", wheel=path, sha256=sha256)
    assert not (tmp_path / "gallery").exists()


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b"<html>not found</html>"])
def test_a_torn_wheel_and_what_is_no_zip_are_refused(wheel, tmp_path, spoil):
    torn = tmp_path / "torn.whl"
    torn.write_bytes(spoil(wheel[0].read_bytes()))
    with pytest.raises(ConfigError, match=r"instead of 08a93791166a"):
        read_wheel(torn)
    with pytest.raises(ConfigError, match="holds no GeoCLIP"):
        read_wheel(torn, hashlib.sha256(torn.read_bytes()).hexdigest())


def test_the_published_wheel(tmp_path):
    """The real one, 40 MB: as it is described here, and with neighbours on the globe that are neighbours in space."""
    try:
        path = download_wheel(tmp_path)
    except ConfigError as error:
        pytest.skip(str(error))
    release = read_wheel(path)
    assert len(release.positions) == 100_000
    frequencies = [scale.frequencies for scale in release.location.scales]
    assert [f.std().item() for f in frequencies] == pytest.approx(SIGMAS, rel=0.05)
    sample = release.positions[:2000]
    embeddings = embed_positions(release.location, sample)
    assert release.location.logits_per_cosine == pytest.approx(math.exp(LOGIT_SCALE_OF_THE_REAL_ONE), rel=1e-4)
    with zipfile.ZipFile(path) as wheel:
        expected = reference(sample[:20], load(wheel.read(geoclip.LOCATION_FILE)))
    assert np.abs(embeddings[:20] - expected).max() < 1e-5
    vectors = unit_vectors(sample)
    apart_km = arc_km(vectors, vectors)
    order = (embeddings @ embeddings.T).argsort(axis=1)[:, ::-1]
    nearest_km = np.take_along_axis(apart_km, order[:, :6], axis=1)
    assert nearest_km[:, 0].max() < 0.1  # itself, or the same place again
    assert np.median(nearest_km[:, 1:]) < 0.05 * np.median(apart_km)
