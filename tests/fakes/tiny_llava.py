"""LLaVA with random weights, which reads and writes single characters: 275 kB for tests, any size for benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] | upper }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY_TEXT = {**TINY, "num_key_value_heads": 2, "vocab_size": 0}
TINY_VISION = {**TINY, "image_size": 28, "patch_size": 14, "projection_dim": 32}


def save_tiny_llava(folder: Path) -> str:
    """Make it and save it, in transformers' format.

    Returns:
        The folder's name.
    """
    save_llava(folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 400_000
    return str(folder)


def save_llava(
    folder: Path,
    *,
    text: Mapping[str, int] = TINY_TEXT,
    vision: Mapping[str, int] = TINY_VISION,
    vision_feature_layer: int = -1,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Make a LLaVA of any size and save it.

    Args:
        folder: Where to.
        text: Sizes of the language model, as LlamaConfig names them; a vocabulary of 0 is that of the tokenizer.
        vision: Sizes of the image tower, as CLIPVisionConfig names them.
        vision_feature_layer: The tower's layer that the language model sees.
        device: Where the weights are drawn.
        dtype: Their number format.
    """
    # Four seconds, which only the worker with these tests needs.
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(0)
    words = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "\n", *map(chr, range(32, 127))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision),
        text_config=LlamaConfig(
            **{**text, "vocab_size": text["vocab_size"] or len(words)},
            max_position_embeddings=4096,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=4,
        vision_feature_layer=vision_feature_layer,
    )
    with torch.device(device):
        model = LlavaForConditionalGeneration._from_config(config, dtype=dtype)
    side = vision["image_size"]
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
        tokenizer=fast,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
