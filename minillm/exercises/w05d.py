"Exercises of notebook 05d: what is kept, what is whole, where two runs part."
import json
import math
import random
import re

from minillm.exercises.grading import Exercise


def kept(saves, keep):
    best = min((score, step) for step, score in saves if score is not None)[1:] if any(s is not None for _, s in saves) else ()
    return sorted({*best, *(step for step, _ in saves[-keep:])})


def is_whole(data):
    if len(data) < 8: return False
    n = int.from_bytes(data[:8], "little")
    if len(data) < 8 + n: return False
    ends = [v["data_offsets"][1] for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"]
    return len(data) == 8 + n + max(ends, default=0)


def newest_intact(names, damaged):
    steps = {int(n[5:]): n for n in names if re.fullmatch("step-[0-9]{8,}", n) and n not in damaged}
    return steps[max(steps)] if steps else None


def parting(a, b):
    same = lambda x, y: x == y and math.copysign(1, x) == math.copysign(1, y)
    for i, (x, y) in enumerate(zip(a, b)):
        if not same(x, y): return i
    return None


def redone(every, kills):
    return sum(step - 1 - (step - 1)//every*every for step in kills)


def exactly(got, expected) -> bool:
    "Equal in value and type: True is not 1, and 0 is not False."
    return type(got) is type(expected) and got == expected


def runs():
    rng = random.Random(0)
    yield from (([(10, None)], 2), ([(10, 1.0), (20, 2.0), (30, 3.0)], 1), ([(10, 2.0), (20, 1.0), (30, 1.0), (40, 5.0)], 1),
                ([(10, 0), (20, None), (30, None)], 2))
    for _ in range(24):
        steps = sorted(rng.sample(range(1, 400), rng.randint(1, 9)))
        yield [(s, rng.choice((None, rng.randint(0, 9), round(rng.uniform(0, 4), 2)))) for s in steps], rng.randint(1, 4)


def stored(rng):
    "A safetensors file of random tensors, their order in the header shuffled."
    header, end = {}, 0
    for i in range(rng.randint(0, 4)):
        n = rng.randint(0, 5)
        header[f"w{i}"] = dict(dtype="U8", shape=[n], data_offsets=[end, end + n])
        end += n
    entries = [*header.items(), *([("__metadata__", {"about": "x"})] if rng.random() < 0.4 else [])]
    rng.shuffle(entries)
    text = json.dumps(dict(entries)).encode()
    return len(text).to_bytes(8, "little") + text + rng.randbytes(end)


def files():
    rng = random.Random(1)
    yield from ((b"",), (b"\2\0\0\0\0\0\0",), (b"\2\0\0\0\0\0\0\0{}",), (b"\2\0\0\0\0\0\0\0{",), (b"\2\0\0\0\0\0\0\0{}x",))
    for i in range(30):
        data = stored(rng)
        yield (data if i % 3 == 0 else data[:rng.randrange(len(data))] if i % 3 == 1 else rng.choice((data + b"\0", data[:-1])),)


def listings():
    rng = random.Random(2)
    yield from (([], []), (["step-00000001"], []), (["step-00000001"], ["step-00000001"]), ([".step-00000002.part", "step-00000001"], []),
                (["step-99999999", "step-100000000"], []), (["step-12", "notes", "step-00000003"], []), (["step-00000001", "step-00000009.old"], []))
    for _ in range(24):
        names = [f"step-{rng.randint(1, 10**rng.randint(1, 9)):08d}" for _ in range(rng.randint(1, 6))]
        odd = [".writing", f".step-{rng.randint(1, 10**9):08d}.part", "step-", "best", f"xstep-{10**9}"]
        yield rng.sample(both := [*dict.fromkeys(names), *odd], len(both)), rng.sample(names, rng.randint(0, min(2, len(names))))


def pairs():
    rng = random.Random(3)
    yield from (([], []), ([1.0], [1.0]), ([1.0], [2.0]), ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), ([0.0], [-0.0]), ([1.0, 2.0], [1.0]),
                ([0.1 + 0.2], [0.3]), ([math.inf, 1.0], [math.inf, 1.0 + 2**-52]))
    for _ in range(24):
        a = [rng.choice((rng.uniform(0, 3), 0.0)) for _ in range(rng.randint(1, 9))]
        b = list(a)
        if rng.random() < 0.7:
            i = rng.randrange(len(b))
            b[i] = rng.choice((-b[i], math.nextafter(b[i], 9), 1.5))
        yield a, b[:rng.randint(1, len(b))]


def kills():
    rng = random.Random(4)
    yield from ((10, []), (10, [1]), (10, [10]), (10, [11]), (10, [12, 12, 12]), (1, [5, 7]))
    for _ in range(24): yield rng.randint(1, 60), sorted(rng.randint(1, 500) for _ in range(rng.randint(0, 5)))


EXERCISES = {
    1: Exercise(kept, runs, [
        "Two lists, joined: the last `keep` of all saves, and one more.",
        "A score of 0 is a score: ask `is not None`.",
        "min((score, step) for ... if score is not None) finds the best one, the earliest of equals; a set removes the double.",
    ], exactly),
    2: Exercise(is_whole, files, [
        "Three reasons to say no: fewer than 8 bytes, a header that is cut, data that is too short or too long.",
        "The first 8 bytes are a little-endian number: the length of the JSON after it.",
        "The tensors need not stand in the header in the order of their offsets: take the maximum of all ends.",
    ], exactly),
    3: Exercise(newest_intact, listings, [
        "First sort out what is not a checkpoint's name at all: re.fullmatch.",
        "'step-100000000' is newer than 'step-99999999', but comes first as text.",
        "max(good, key=lambda n: int(n[5:]), default=None).",
    ], exactly),
    4: Exercise(parting, pairs, [
        "zip stops at the shorter one.",
        "0.0 == -0.0 is true: == is not quite the question that is asked; and index 0 is an answer.",
        "x.hex() writes every bit of a float, the sign included.",
    ], exactly),
    5: Exercise(redone, kills, [
        "Killed in step k, it had finished k - 1 steps.",
        "Of those, everything up to the last multiple of `every` is safe.",
        "sum((k - 1) % every for k in kills).",
    ], exactly),
}
