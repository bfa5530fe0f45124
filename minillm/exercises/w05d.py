"Exercises of notebook 05d: what JSON bends, what is whole, where two runs part, a position without state."
import json
import math
import random
import re

from minillm.exercises.grading import Exercise


def to_json(value):
    if type(value) is tuple: return {"$tuple": to_json(list(value))}
    if type(value) is list: return list(map(to_json, value))
    if type(value) is not dict: return value
    pairs = [[k, to_json(v)] for k, v in value.items()]
    return {"$dict": pairs} if any(type(k) is not str for k in value) else dict(pairs)


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


def windows_at(step, n_windows, batch_size, seed):
    steps = n_windows//batch_size
    order = list(range(n_windows))
    random.Random(f"{seed}-{step//steps}").shuffle(order)
    first = step%steps*batch_size
    return order[first:first + batch_size]


def exactly(got, expected) -> bool:
    "Equal in value and type, nested, in the same order: True is not 1, and a tuple is not a list."
    return type(got) is type(expected) and repr(got) == repr(expected)


def nested(rng, depth):
    kind = rng.choice("vvtld") if depth else "v"
    inside = lambda: [nested(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    if kind == "v": return rng.choice((None, True, 0, 1.5, -0.0, "a", ""))
    if kind != "d": return (tuple if kind == "t" else list)(inside())
    return {rng.choice(("a", "b", "c.d", 0, 1, 2.5, None)): v for v in inside()}


def values():
    rng = random.Random(0)
    yield from ((1,), ((),), ([],), ({},), ({"a": 1},), ({0: 1},), ((1, 2),), ([(1,)],), ({"a": (1, [2, (3,)])},), ({0: {"b": {1: (2,)}}, "c": []},))
    for _ in range(30): yield (nested(rng, 4),)


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


def positions():
    rng = random.Random(4)
    yield from ((0, 1, 1, 0), (0, 4, 1, 0), (3, 4, 1, 0), (4, 4, 1, 0), (0, 5, 2, 1), (1, 5, 2, 1), (2, 5, 2, 1), (7, 10, 10, 3))
    for _ in range(24):
        n = rng.randint(1, 40)
        yield rng.randint(0, 200), n, rng.randint(1, n), rng.randint(0, 99)


EXERCISES = {
    1: Exercise(to_json, values, [
        "Five kinds: tuple, list, dict with text keys only, any other dict, and all the rest.",
        "Each container calls to_json for what is inside it, also inside a $tuple and a $dict.",
        "Build the pairs once; what they become depends on the types of the keys.",
    ], exactly),
    2: Exercise(is_whole, files, [
        "Three reasons to say no: fewer than 8 bytes, a header that is cut, data that is too short or too long.",
        "The first 8 bytes are a little-endian number: the length of the JSON after it.",
        "The tensors need not stand in the header in the order of their offsets: take the maximum of all ends.",
    ], exactly),
    3: Exercise(newest_intact, listings, [
        "First sort out what is not a checkpoint's name at all: re.fullmatch.",
        "'step-100000000' is newer than 'step-99999999', but comes first as text.",
        "max takes a key: what number does a name stand for? And a default.",
    ], exactly),
    4: Exercise(parting, pairs, [
        "zip stops at the shorter one.",
        "0.0 == -0.0 is true: == is not quite the question that is asked; and index 0 is an answer.",
        "A float has a method that writes every bit of it, the sign included.",
    ], exactly),
    5: Exercise(windows_at, positions, [
        "An epoch has n_windows//batch_size steps; divmod gives the epoch and the step within it.",
        "random.Random(text) is a generator of its own; its shuffle works in place and returns None.",
        "Within the epoch, step n shows the n-th slice of batch_size windows.",
    ], exactly),
}
