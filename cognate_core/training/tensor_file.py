"""Write tensors as a safetensors file piece by piece, without a second copy in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

_NAMES = {  # in the library's order within a file: the same tensors give the same bytes
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def tensor_pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The content of a safetensors file: its header, then each tensor's own memory, widest numbers first.

    A tensor that is not contiguous is copied when its turn comes; the copy is held until the next tensor.
    Format: https://github.com/huggingface/safetensors#format
    """
    order = list(_NAMES)
    ordered = sorted(tensors.items(), key=lambda each: (order.index(each[1].dtype), each[0]))
    head: dict[str, object] = {}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.numel() * tensor.element_size()
        head[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the numbers after it
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        yield tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
