"The graders of notebook 04c reject planted mistakes and accept right answers written anew."
import json
import struct

import pytest
import torch

from minillm.exercises.grading import find, verdict


def header(data): return json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])


def mapped(sizes, limit, first=1, always=False, fits=int.__le__):
    where, shard, used = {}, 0, None
    for name, size in sizes.items():
        if used is None or not fits(used + size, limit): shard, used = shard + 1, 0
        where[name], used = shard, used + size
    if shard == 1 and not always: return dict.fromkeys(sizes, "model.safetensors")
    return {name: f"model-{k - 1 + first:05d}-of-{shard:05d}.safetensors" for name, k in where.items()}


def bits(x): return x.view(torch.int32).long() & 0xFFFFFFFF


def theta(hf):
    new = hf.get("rope_parameters")
    if new and new.get("rope_theta") is not None: return new["rope_theta"]
    return hf["rope_theta"] if hf.get("rope_theta") is not None else 10_000.0


RIGHT = {
    1: lambda data: {k: tuple(v["shape"]) for k, v in header(data).items() if not k.startswith("__")},
    2: lambda w, d: torch.stack([w.unflatten(0, (-1, d))[:, :d // 2], w.unflatten(0, (-1, d))[:, d // 2:]], 2).flatten(0, 2),
    3: theta,
    4: mapped,
    5: lambda x: (x.to(torch.bfloat16).view(torch.int16).int() + 65536) % 65536,
}
WRONG = {
    1: [lambda data: {k: tuple(v.get("shape", ())) for k, v in header(data).items()},  # the metadata as a tensor
        lambda data: {k: tuple(v["data_offsets"]) for k, v in header(data).items() if k != "__metadata__"},  # where, not how large
        lambda data: {k: tuple(v["shape"]) for k, v in json.loads(data[8:8 + data[0]]).items() if k != "__metadata__"}],  # a length of one byte
    2: [lambda w, d: w.unflatten(0, (-1, d // 2, 2)).transpose(1, 2).flatten(0, 2),  # once more in the same direction
        lambda w, d: w.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1),  # over all heads at once
        lambda w, d: w.unflatten(0, (-1, 2, d // 2)).flip(1).transpose(1, 2).flatten(0, 2)],  # partners swapped
    3: [lambda hf: hf.get("rope_theta", 10_000.0),  # the old place only
        lambda hf: (hf.get("rope_parameters") or {}).get("rope_theta", 10_000.0),  # the new place only
        lambda hf: hf.get("rope_theta") or (hf.get("rope_parameters") or {}).get("rope_theta") or 10_000.0,  # the old one first
        lambda hf: hf.get("rope_parameters", {}).get("rope_theta", hf.get("rope_theta", 10_000.0))],  # null is a value
    4: [lambda s, n: mapped(s, n, first=0), lambda s, n: mapped(s, n, always=True), lambda s, n: mapped(s, n, fits=int.__lt__),
        lambda s, n: {k: f"model-{i:05d}-of-{len(s):05d}.safetensors" for i, k in enumerate(s, 1)}],  # a file each
    5: [lambda x: (bits(x) >> 16).int(),  # cut
        lambda x: (bits(x) + 0x8000 >> 16).int() & 0xFFFF,  # halves always up
        lambda x: (bits(x) + 0x7FFF >> 16).int() & 0xFFFF,  # halves always down
        lambda x: x.to(torch.bfloat16).view(torch.int16).int()],  # signed
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"04c.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"04c.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"04c.{number}")
    assert len(list(exercise.cases())) >= 20 and str(list(exercise.cases())) == str(list(exercise.cases()))
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"04c.{number}"), lambda *_: ...) == (False, "not attempted yet")
