"""What a GPU does for each part: the encoder, an open model, the search, GeoCLIP's location encoder.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --device cpu --tiny --out gpu.json     # the same path in small, anywhere

Networks have their real sizes and random weights, which take the same time as trained ones; vectors are made up
(embeddings.py). The embed stage on a GPU is build.py's, one photo's stages are locate.py's.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.build import make_network
from benchmarks.device import forget_peak, median_s, peak_gb, seconds_of
from benchmarks.gpu_search import measure_search
from img2loc.answer import prompt
from img2loc.errors import LMMCancelledError, LMMTimeoutError
from img2loc.lmm import BackendOptions, Turn, llava, open_lmm
from img2loc.lmm.placement import placement_here
from img2loc.photo.decode import open_photo
from img2loc.retrieval.encoders import Embeddings, open_encoder
from img2loc.retrieval.location_encoder import LocationEncoder
from img2loc.types import LatLon, Neighbour, Retrieval
from tests.fakes.tiny_llava import save_llava

DTYPES = (
    "float32",
    "tf32",
    "bfloat16",
    "float16",
)  # tf32: float32 with products of 10 bits, which torch has to be told
BATCHES = (1, 32, 256)
K = 16
LLAVA_15_7B: dict[str, Any] = {
    "text": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32064,
    },
    "vision": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "projection_dim": 768,
        "image_size": 336,
        "patch_size": 14,
    },
    "vision_feature_layer": -2,
}


def main() -> None:
    """Measure part by part, writing JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small sizes: to try the path, not to measure")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where the models are written; a folder in memory is fastest")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    arguments = parser.parse_args()
    result: dict[str, Any] = {"torch": torch.__version__, "device": arguments.device}
    if arguments.device == "cuda":
        result["device"] = torch.cuda.get_device_name()
    for part in arguments.parts:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            try:
                result[part] = PARTS[part](Path(name), arguments.device, arguments.tiny)
            except Exception as error:  # the other parts are wanted all the same
                traceback.print_exc()
                result[part] = {"failed": f"{type(error).__name__}: {error}"}
        result[part]["took_s"] = time.perf_counter() - start
        print(json.dumps({part: result[part]}), flush=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        gc.collect()
        if arguments.device == "cuda":
            torch.cuda.empty_cache()


def _measure_encoder(folder: Path, device: str, tiny: bool) -> dict[str, Any]:
    """Photos a second by batch and number format, and whether the neighbours are those of float32 on the CPU."""
    source = str(make_network(folder, "b32" if tiny else "l14"))
    pictures = [_picture(number) for number in range(8 if tiny else 64)]
    on_cpu = open_encoder(source, device="cpu")
    start = time.perf_counter()
    expected = on_cpu.embed(pictures)
    found: dict[str, Any] = {"cpu_float32_per_s": len(pictures) / (time.perf_counter() - start)}
    found["cpu_cosines_between_pictures"] = _quantiles(_others(expected @ expected.T))
    inputs = on_cpu.prepare(pictures)["pixel_values"]
    del on_cpu
    for dtype in DTYPES:
        forget_peak(device)
        torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
        encoder: Any = open_encoder(source, device=device, dtype=dtype.replace("tf32", "float32"))
        rows = encoder.embed(pictures)
        found[dtype] = {
            "least_cosine_with_cpu": float((rows * expected).sum(axis=1).min()),
            "error_of_spread": float(np.linalg.norm(rows - expected, axis=1).max() / _spread(expected)),
            "neighbours_kept": _same_neighbours(rows, expected),
            "batches": [],
        }
        for batch in (1, 2) if tiny else BATCHES:
            pixels = np.resize(inputs, (batch, *inputs.shape[1:]))
            with torch.inference_mode():
                there = encoder._to_device({"pixel_values": pixels})
                network_s = median_s(lambda x=there, e=encoder: e._network(**x), device)
            whole_s = median_s(lambda x=pixels, e=encoder: e.embed_prepared({"pixel_values": x}), device)
            found[dtype]["batches"].append(
                {
                    "batch": batch,
                    "embed_prepared_per_s": batch / whole_s,
                    "network_per_s": batch / network_s,
                    "peak_gb": peak_gb(device),
                }
            )
    torch.set_float32_matmul_precision("highest")
    return found


def _measure_lmm(folder: Path, device: str, tiny: bool) -> dict[str, Any]:
    """LLaVA through the app's own backend: loading, replies, a visitor who leaves, a time-out."""
    place = placement_here()
    name = folder / "llava"
    sizes = {} if tiny else LLAVA_15_7B
    save_llava(name, **sizes, device=device, dtype=place.dtype)
    size = sum(file.stat().st_size for file in name.iterdir())
    forget_peak(device)
    options = {"model": str(name), "timeout_s": 120.0}
    model = open_lmm("llava", BackendOptions(**options))
    found: dict[str, Any] = {"placement": str(place), "gb": size / 1e9}
    found["load_s"] = seconds_of(model.load)  # type: ignore[attr-defined]
    loaded = llava._loaded.model  # type: ignore[union-attr]
    found |= {
        "runs": f"{loaded.device}, {loaded.dtype}",
        "map": str(getattr(loaded, "hf_device_map", None)),
        "parameters": sum(weights.numel() for weights in loaded.parameters()),
        "loaded_gb": peak_gb(device),
    }
    retrieval = Retrieval(*(tuple(_neighbour(16 * far + row) for row in range(K)) for far in range(2)))
    turns = (Turn("user", prompt.render(prompt.DEFAULT_TEMPLATE, retrieval)),)
    jpeg = open_photo(_picture(0)).jpeg
    whole, found["replies"] = llava.MAX_NEW_TOKENS, []
    for limit in (1, 1, whole, whole, 150):
        llava.MAX_NEW_TOKENS = limit  # type: ignore[misc]
        start = time.perf_counter()
        reply = model.reply(turns, jpeg)
        seconds = time.perf_counter() - start
        found["replies"].append(
            {
                "limit": limit,
                "seconds": seconds,
                "read": reply.input_tokens,
                "written": reply.output_tokens,
                "truncated": reply.truncated,
                "characters": len(reply.text),
            }
        )
    first_s, longest = found["replies"][1]["seconds"], found["replies"][3]
    found["tokens_per_s"] = (longest["written"] - 1) / (longest["seconds"] - first_s)
    found["peak_gb"] = peak_gb(device)
    llava.MAX_NEW_TOKENS = 3000  # type: ignore[misc]
    cancel, left = threading.Event(), 0.0

    def leave() -> None:
        nonlocal left
        left = time.perf_counter()
        cancel.set()

    threading.Timer(1.0, leave).start()
    try:
        open_lmm("llava", BackendOptions(**options, cancel=cancel)).reply(turns, jpeg)
    except LMMCancelledError as error:
        found["cancelled"] = {"after_s": time.perf_counter() - left, "said": str(error)}
    try:
        start = time.perf_counter()
        open_lmm("llava", BackendOptions(**{**options, "timeout_s": 1.0})).reply(turns, jpeg)
    except LMMTimeoutError as error:
        found["timed_out"] = {"after_s": time.perf_counter() - start, "said": str(error)}
    llava.MAX_NEW_TOKENS, llava._loaded = whole, None  # type: ignore[misc]
    return found


def _measure_location(folder: Path, device: str, tiny: bool) -> dict[str, Any]:
    """GeoCLIP's location encoder on as many coordinates as its gallery has."""
    count = 1_000 if tiny else 100_000
    torch.manual_seed(0)
    weights: dict[str, torch.Tensor] = {}
    layers = {"capsule.1": (512, 1024), "capsule.3": (1024, 1024), "capsule.5": (1024, 1024), "head.0": (1024, 512)}
    for scale, sigma in enumerate((1, 16, 256)):
        weights[f"LocEnc{scale}.capsule.0.b"] = sigma * torch.randn(256, 2)
        for layer, (inside, outside) in layers.items():
            weights[f"LocEnc{scale}.{layer}.weight"] = torch.randn(outside, inside) * (2 / inside) ** 0.5
            weights[f"LocEnc{scale}.{layer}.bias"] = torch.zeros(outside)
    low, high = torch.tensor([-60.0, -180.0]), torch.tensor([75.0, 180.0])
    coordinates = (low + (high - low) * torch.rand(count, 2)).double()
    encoder = LocationEncoder(weights).eval()
    found: dict[str, Any] = {"coordinates": count, "cpu_threads": torch.get_num_threads()}

    def run(where: str, batch: int) -> torch.Tensor:
        return torch.cat([encoder(part.to(where)).cpu() for part in coordinates.split(batch)])

    with torch.inference_mode():
        expected = run("cpu", 512)
        found["cpu_s"] = min(seconds_of(lambda: run("cpu", 512)) for _ in range(2))
        encoder = encoder.to(device)
        for batch in (512, 8192):
            rows = run(device, batch)
            found[f"device_{batch}_s"] = median_s(lambda b=batch: run(device, b), device)
        found["least_cosine"] = float((rows * expected).sum(dim=1).min())
    return found


PARTS: dict[str, Callable[[Path, str, bool], dict[str, Any]]] = {
    "encoder": _measure_encoder,
    "search": measure_search,
    "location": _measure_location,
    "lmm": _measure_lmm,
}


def _picture(number: int) -> Image.Image:
    """A picture with large and small structures, unlike the others."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (3 + number % 5, 4, 3), np.uint8)).resize((512, 384))
    fine = Image.fromarray(rng.integers(0, 256, (384, 512, 3), np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    return Image.blend(coarse, fine, 0.3)


def _neighbour(row: int) -> Neighbour:
    lat, lon = np.random.default_rng(row).uniform((-60, -180), (70, 180)).round(5)
    return Neighbour(row, LatLon(float(lat), float(lon)), 0.5, None)


def _others(cosines: Embeddings) -> Embeddings:
    """The cosines of each with every other."""
    return cosines[~np.eye(len(cosines), dtype=bool)]


def _quantiles(values: Embeddings) -> list[float]:
    return [float(value) for value in np.quantile(values, (0, 0.5, 1))]


def _spread(rows: Embeddings) -> float:
    """The mean distance of rows from their mean: what an error has to be small against."""
    return float(np.linalg.norm(rows - rows.mean(axis=0), axis=1).mean())


def _same_neighbours(rows: Embeddings, expected: Embeddings) -> float:
    """The share of each row's nearest fourth among the others that stays."""
    k = max(1, len(rows) // 4)
    found, true = (np.argsort(-(x @ x.T - 9 * np.eye(len(x))), axis=1)[:, :k] for x in (rows, expected))
    return float(np.mean([len(set(f) & set(t)) / k for f, t in zip(found, true, strict=True)]))


if __name__ == "__main__":
    logging.basicConfig()
    main()
