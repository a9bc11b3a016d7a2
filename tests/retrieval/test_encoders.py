"""Encoders: real ones on real photos, tiny ones made here for what can't be had, and words for what can't be loaded."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from img2loc.answer.vote import vote
from img2loc.errors import ConfigError, EncoderError
from img2loc.geo.sphere import arc_km, haversine_km, unit_vectors
from img2loc.photo.decode import open_photo
from img2loc.retrieval.encoders import TransformersEncoder, open_encoder
from img2loc.retrieval.encoders.transformers import _byte_table, _Processor
from img2loc.types import LatLon, Neighbour
from tests.conftest import PHOTOS


@pytest.fixture(scope="module")
def pictures():
    return [open_photo(path.read_bytes()).image for path in sorted(PHOTOS.glob("c2lc*.jpg"))[:5]]


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A random CLIP of 200 kB in transformers' format, text tower and all."""
    folder = tmp_path_factory.mktemp("tiny_clip")
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=tower | {"vocab_size": 100, "max_position_embeddings": 8},
        vision_config=tower | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["CLIP", "Siglip", "Bit", "MobileNetV1", "ViT"])
def test_pixels_stay_bytes_until_they_are_on_the_device_and_are_the_same_there(kind, pictures):
    processor = getattr(transformers, f"{kind}ImageProcessorPil")()
    table = _byte_table(processor)
    wholly, bytewise = (_Processor(processor, to_bytes)(pictures)["pixel_values"] for to_bytes in (False, True))
    assert (wholly.dtype, bytewise.dtype) == (np.float32, np.uint8)
    assert np.array_equal(table[np.arange(3)[:, None, None], bytewise], wholly)


@pytest.mark.parametrize(
    "processor",
    [
        transformers.Siglip2ImageProcessorPil(),  # gives patches
        transformers.CLIPImageProcessorPil(do_normalize=False, do_rescale=False),
        lambda images, return_tensors, **_: {"pixel_values": np.stack([np.zeros((3, 16, 16), np.float32)])},
        lambda images, return_tensors: {},
    ],
)
def test_a_processor_of_another_kind_is_left_to_itself(processor, pictures):
    table = _byte_table(processor)
    assert table is None or np.array_equal(table, np.tile(np.arange(256), (3, 1)))  # bytes as they are


def test_an_encoder_gives_the_same_bytes_as_with_the_whole_processor(tiny_clip, pictures):
    encoder = open_encoder(str(tiny_clip))
    found = encoder.embed(pictures)
    assert encoder.prepare(pictures)["pixel_values"].dtype == np.uint8
    encoder._byte_table, encoder.prepare = None, _Processor(encoder.prepare.processor, to_bytes=False)
    assert found.tobytes() == encoder.embed(pictures).tobytes()


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_a_wrong_setting(tiny_clip, device):
    for source in (str(tiny_clip), "lite0", "owner/that-is-fetched-in-vain"):
        with pytest.raises(ConfigError, match=f"This machine has no device '{device}' .*; choose auto or cpu"):
            open_encoder(source, device=device)


def test_lite0_makes_the_embeddings_that_the_starter_keeps(lite0, photo_embeddings, photo_rows):
    pictures = [open_photo((PHOTOS / row["file"]).read_bytes()).image for row in photo_rows[::13]]
    assert (lite0.embed(pictures) * photo_embeddings[::13]).sum(axis=1) == pytest.approx(np.ones(20), abs=1e-3)


def test_lite0_finds_the_same_site(photo_embeddings, photo_rows):
    sites = np.array([row["group"] for row in photo_rows])
    similarity = photo_embeddings @ photo_embeddings.T
    np.fill_diagonal(similarity, -1)
    several = [i for i, site in enumerate(sites) if (sites == site).sum() > 1]
    found = np.mean([sites[similarity[i].argmax()] == sites[i] for i in several])
    assert len(several) == 171
    assert found == pytest.approx(0.65, abs=0.01)


def test_lite0_finds_the_country_of_unknown_sites_better_than_chance(photo_embeddings, photo_rows):
    sites, countries = (np.array([row[name] for row in photo_rows]) for name in ("group", "country"))
    similarity = np.where(sites[:, None] == sites[None, :], -1, photo_embeddings @ photo_embeddings.T)
    assert (countries[similarity.argmax(axis=1)] == countries).mean() == pytest.approx(0.34, abs=0.01)


def test_lite0_knows_the_eiffel_tower(lite0, tower, photo_embeddings, photo_rows):
    similarity = photo_embeddings @ lite0.embed([tower.image])[0]
    first, second = similarity.argsort()[::-1][:2]
    assert "Eiffel-Tower" in photo_rows[first]["file"]
    assert (similarity[first], similarity[second]) == pytest.approx((0.55, 0.43), abs=0.005)


def test_a_narrow_radius_is_no_proof_at_a_place_the_gallery_lacks(photo_embeddings, photo_rows):
    """The figure that the README warns with: the radius is the vote's spread, not a probability."""
    positions = [LatLon(float(row["lat"]), float(row["lon"])) for row in photo_rows]
    points = unit_vectors(positions)
    site = np.array([row["group"] for row in photo_rows])
    known = (site[:, None] == site[None, :]) | (arc_km(points, points) < 25)
    similarity = np.where(known, -1, photo_embeddings @ photo_embeddings.T)
    misled = 0
    for here, row in zip(positions, similarity, strict=True):
        nearest = row.argsort()[::-1][:16]
        answer = vote([Neighbour(int(i), positions[i], float(row[i])) for i in nearest])
        misled += answer.radius_km < 25 and haversine_km(answer.position, here) > 200
    assert misled / len(positions) == pytest.approx(0.29, abs=0.015)


@pytest.mark.parametrize("name", ["lite0", "mobilenet"])
def test_embeddings_are_unit_float32_and_do_not_depend_on_the_batch(name, pictures, request):
    encoder = request.getfixturevalue(name)
    together = encoder.embed(pictures)
    assert together.shape == (len(pictures), encoder.dim) and together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(len(pictures)), abs=1e-5)
    alone = np.concatenate([encoder.embed([picture]) for picture in pictures])
    assert (alone * together).sum(axis=1) == pytest.approx(np.ones(len(pictures)), abs=1e-5)
    assert encoder.embed([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("name", ["lite0", "mobilenet"])
def test_many_threads_share_an_encoder(name, pictures, request):
    encoder = request.getfixturevalue(name)
    expected = encoder.embed(pictures)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: encoder.embed([pictures[i % len(pictures)]])[0], range(24)))
    for i, embedding in enumerate(found):
        assert embedding @ expected[i % len(pictures)] == pytest.approx(1, abs=1e-5)


def test_an_extreme_picture_is_embedded(lite0):
    assert lite0.embed([Image.new("RGB", (2048, 103), "teal")]).shape == (1, lite0.dim)


def test_clip_gives_its_image_embedding(tiny_clip, pictures):
    encoder = open_encoder(str(tiny_clip))
    assert (encoder.spec.kind, encoder.dim) == ("transformers", 24)
    model = transformers.CLIPModel.from_pretrained(tiny_clip).eval()
    pixels = transformers.CLIPImageProcessorPil.from_pretrained(tiny_clip)(images=pictures, return_tensors="pt")
    with torch.inference_mode():
        features = model.get_image_features(**pixels).pooler_output
    expected = torch.nn.functional.normalize(features, dim=1).numpy()
    assert encoder.embed(pictures) == pytest.approx(expected, abs=1e-5)


def test_siglip_and_dinov2_take_the_same_path(tmp_path, pictures):
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    small = {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    siglip = transformers.SiglipConfig(text_config=tower | {"vocab_size": 100}, vision_config=tower | small)
    dino = transformers.Dinov2Config(**tower, **small)
    for model, processor in (
        (transformers.SiglipModel(siglip), transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32})),
        (transformers.Dinov2Model(dino), transformers.BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)),
    ):
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        encoder = open_encoder(str(folder))
        found = encoder.embed(pictures)
        assert found.shape == (len(pictures), 32)
        assert np.abs(found[0] - found[1]).max() > 1e-4


def test_a_head_is_put_after_the_encoder(tiny_clip, tmp_path, pictures):
    torch.manual_seed(1)
    layers = [torch.nn.Linear(24, 16), torch.nn.Linear(16, 12)]
    head = tmp_path / "head.safetensors"
    save_file({f"{2 * i}.{name}": t for i, layer in enumerate(layers) for name, t in layer.state_dict().items()}, head)
    bare, headed = open_encoder(str(tiny_clip)), open_encoder(str(tiny_clip), head=head.read_bytes())
    assert headed.dim == 12 and headed.spec.head.startswith("sha256:") and bare.spec.head == ""
    # The head sees the features before they are brought to unit length, so their scale is undone for the comparison.
    model = transformers.CLIPModel.from_pretrained(tiny_clip).eval()
    pixels = transformers.CLIPImageProcessorPil.from_pretrained(tiny_clip)(images=pictures, return_tensors="pt")
    with torch.inference_mode():
        features = layers[1](torch.relu(layers[0](model.get_image_features(**pixels).pooler_output)))
    assert headed.embed(pictures) == pytest.approx(torch.nn.functional.normalize(features, dim=1).numpy(), abs=1e-5)


def test_bfloat16_gives_nearly_the_same(tiny_clip, pictures):
    encoder = open_encoder(str(tiny_clip))
    rough = encoder.with_dtype("bfloat16").embed(pictures)
    exact = encoder.embed(pictures)
    assert 0 < np.abs(rough - exact).max() < 0.05
    assert rough.dtype == np.float32


def test_a_folder_is_known_by_its_content(tiny_clip, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(tiny_clip, copied)
    assert open_encoder(str(copied)).spec.revision == open_encoder(str(tiny_clip)).spec.revision
    (copied / "config.json").write_text((copied / "config.json").read_text().replace("{", "{ ", 1))
    assert open_encoder(str(copied)).spec.revision != open_encoder(str(tiny_clip)).spec.revision


@pytest.mark.parametrize(
    ("source", "words"),
    [("no/such/folder", "neither a folder"), ("clip", "neither a folder"), ("", "neither a folder")],
)
def test_what_is_no_encoder_gets_words(source, words):
    with pytest.raises(EncoderError, match=words):
        open_encoder(source)


def test_a_folder_without_a_model_gets_words(tmp_path):
    with pytest.raises(EncoderError, match="can't be loaded"):
        TransformersEncoder(str(tmp_path))
