"Exercises of notebook 04c: a header read by hand, pairs side by side again, theta in two places, an index, rounding to bfloat16."
import json
import math
import random
import struct

import torch

from minillm.exercises.grading import Exercise


def shapes(data):
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end].decode())
    header.pop("__metadata__", None)
    return {name: tuple(about["shape"]) for name, about in header.items()}


def to_neighbours(weight, head_dim):
    out, half = torch.empty_like(weight), head_dim // 2
    for start in range(0, len(weight), head_dim):
        for i in range(half):
            out[start + 2 * i] = weight[start + i]
            out[start + 2 * i + 1] = weight[start + half + i]
    return out


def rope_theta(hf):
    newer = (hf.get("rope_parameters") or {}).get("rope_theta")
    older = hf.get("rope_theta")
    return newer if newer is not None else older if older is not None else 10_000.0


def weight_map(sizes, max_shard_bytes):
    files = []
    for name, size in sizes.items():
        if not files or sum(sizes[n] for n in files[-1]) + size > max_shard_bytes: files.append([])
        files[-1].append(name)
    if len(files) == 1: return dict.fromkeys(files[0], "model.safetensors")
    return {name: f"model-{i:05}-of-{len(files):05}.safetensors" for i, names in enumerate(files, 1) for name in names}


def bf16_bits(x): return x.to(torch.bfloat16).view(torch.int16).int() & 0xFFFF


def packed(tensors, metadata=None):
    header, place = {"__metadata__": metadata} if metadata else {}, 0
    for name, shape in tensors.items():
        size = 4 * math.prod(shape)
        header[name] = dict(dtype="F32", shape=list(shape), data_offsets=[place, place + size])
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(place)


def files():
    rng = random.Random(0)
    yield from ((packed({}),), (packed({"a": (1,)}),), (packed({"a": ()}),), (packed({"a": (2, 3)}, {"format": "pt"}),),
                (packed({"shape": (3,), "x": (0, 4)}),), (packed({"é": (2,)}),), (packed({f"long.{i}": (1,) for i in range(6)}),))
    for _ in range(20):
        yield packed({f"t{i}": tuple(rng.randint(1, 3) for _ in range(rng.randint(0, 3))) for i in range(rng.randint(1, 4))},
                     {"format": "pt"} if rng.random() < 0.5 else None),


def matrices():
    generator = torch.Generator().manual_seed(1)
    yield from ((torch.arange(2), 2), (torch.arange(4), 4), (torch.arange(8), 4), (torch.arange(8), 8), (torch.arange(12).view(6, 2), 6))
    for k in range(20):
        head_dim, heads = 2 * (1 + k % 4), 1 + k % 3
        yield torch.randn(head_dim * heads, *([] if k % 5 == 0 else [3]), generator=generator), head_dim


def configs():
    rng = random.Random(2)
    yield from (({},), (dict(rope_theta=5e5),), (dict(rope_theta=None),), (dict(rope_parameters=dict(rope_theta=1e6, rope_type="default")),),
                (dict(rope_theta=1e4, rope_parameters=dict(rope_theta=5e5)),), (dict(rope_theta=5e5, rope_parameters=None),),
                (dict(rope_theta=5e5, rope_parameters=dict(rope_type="default")),), (dict(rope_theta=5e5, rope_scaling=dict(rope_type="linear", factor=2.0)),))
    for _ in range(20):
        hf = dict(hidden_size=64)
        if rng.random() < 0.6: hf["rope_theta"] = rng.choice([None, 1e4, 5e5, 1e6])
        if rng.random() < 0.6: hf["rope_parameters"] = rng.choice([None, {}, dict(rope_theta=rng.choice([None, 2e4, 3e5]), rope_type="default")])
        yield hf,


def sizes():
    rng = random.Random(3)
    yield from (({"a": 1}, 1), ({"a": 2}, 1), ({"a": 1, "b": 1}, 2), ({"a": 1, "b": 1}, 1), ({"a": 1, "b": 3, "c": 1}, 2), ({"a": 2, "b": 2, "c": 2}, 4),
                ({"a": 9, "b": 1, "c": 1}, 2))
    for _ in range(20): yield {f"t{i}": rng.randint(1, 9) for i in range(rng.randint(1, 14))}, rng.randint(4, 16)


def numbers():
    generator = torch.Generator().manual_seed(4)
    exact = [1.0, -1.0, 0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 255.9, 3.39e38, 1e-40]
    for x in exact: yield torch.tensor([x]),
    for k in range(16): yield torch.randn(1 + k % 5, generator=generator) * 10.0 ** (k - 8),


EXERCISES = {
    1: Exercise(shapes, files, [
        "The first eight bytes are a whole number, the lowest byte first: struct.unpack('<Q', data[:8]).",
        "So many bytes of JSON follow; json.loads reads bytes, blanks at the end included.",
        "Only __metadata__ has no shape; a list becomes a tuple with tuple().",
    ]),
    2: Exercise(to_neighbours, matrices, [
        "Within a head, row i and row i + D/2 are a pair; they are to become rows 2i and 2i + 1.",
        "to_halves splits D into (D/2, 2) and swaps the two; the way back splits it into (2, D/2).",
        "unflatten, transpose the two new dimensions, flatten: as to_halves, with the two sizes exchanged.",
    ]),
    3: Exercise(rope_theta, configs, [
        "A key may be missing, or there and null: .get() gives None for both.",
        "rope_parameters may itself be null; `or {}` helps.",
        "Look into rope_parameters first, then into hf itself, then take 10_000.0.",
    ]),
    4: Exercise(weight_map, sizes, [
        "A tensor opens a new file when it no longer fits into the present one, and when there is none.",
        "How many files there are is known only at the end: number first, name afterwards.",
        "f'model-{i:05}-of-{n:05}.safetensors', i from 1; a single file has the short name.",
    ]),
    5: Exercise(bf16_bits, numbers, [
        "Cutting off the lower 16 bits rounds towards zero; add something before you cut.",
        "Adding 0x7fff carries when the lower half is above 0x8000; at exactly 0x8000 it must carry if bit 16 is set.",
        "Work in int64, where (bits & 0xffffffff) is never negative; what is added is 0x7fff plus bit 16.",
    ]),
}
