"""Writes one row with a picture and a clip, and what transformers makes of it, as megatron-parity reads it.

usage: transformers-row.py MODEL FOLDER     (a published folder of Qwen3-VL or Qwen3-VL-MoE)
"""
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText

model_folder, folder = sys.argv[1:]
torch.manual_seed(1)
model = AutoModelForImageTextToText.from_pretrained(model_folder, dtype=torch.float32).eval()
config = model.config
vision = config.vision_config
merged = vision.spatial_merge_size**2
width = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2


def text(count):
    return torch.randint(0, 200, (count,)).tolist()


def pads(token, count):
    return [config.vision_start_token_id] + [token] * count + [config.vision_end_token_id]


image, video = (1, 6, 8), (2, 4, 6)
ids = text(5) + pads(config.image_token_id, 6 * 8 // merged) + text(7)
for _ in range(video[0]):
    ids += text(3) + pads(config.video_token_id, 4 * 6 // merged)
ids += text(11)
kinds = [{config.image_token_id: 1, config.video_token_id: 2}.get(i, 0) for i in ids]
inputs = {
    "input_ids": torch.tensor([ids]),
    "image_grid_thw": torch.tensor([image]),
    "video_grid_thw": torch.tensor([video]),
    "pixel_values": torch.rand(6 * 8, width) * 2 - 1,
    "pixel_values_videos": torch.rand(2 * 4 * 6, width) * 2 - 1,
}
grids = {k: inputs[k] for k in ("image_grid_thw", "video_grid_thw")}
try:  # transformers 5
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"], torch.tensor([kinds], dtype=torch.int32), **grids)
except TypeError:
    positions, _ = model.model.get_rope_index(inputs["input_ids"], **grids)
with torch.no_grad():
    logits = model(**inputs, position_ids=positions, use_cache=False).logits[0]
labels = torch.tensor(ids)
labels[0] = -100  # nothing predicts the first token
loss = torch.nn.functional.cross_entropy(logits[:-1], labels[1:], reduction="none")
os.makedirs(folder, exist_ok=True)
save_file(
    {
        **inputs,
        "labels": labels[None].contiguous(),
        "cu_seqlens": torch.tensor([0, len(ids)], dtype=torch.int32),
        "text_position_ids": torch.arange(len(ids)),
        "mrope_position_ids": positions[:, 0].contiguous(),
        "logits": logits.contiguous(),
        "token_nll": torch.cat([loss, torch.zeros(1)]),
    },
    os.path.join(folder, "packed.safetensors"))
