"The graders of notebook 05d reject planted mistakes and accept right answers written anew."
import json, math, random, struct

import pytest

from minillm.exercises.grading import find, verdict


def whole(data):
    try:
        n, = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + n])
    except (struct.error, ValueError): return False
    header.pop("__metadata__", None)
    return len(data) - 8 - n == max([v["data_offsets"][1] for v in header.values()] or [0]) if len(data) >= 8 + n else False


def jsonable(value):
    if isinstance(value, dict):
        inside = {k: jsonable(v) for k, v in value.items()}
        return inside if {type(k) for k in value} <= {str} else {"$dict": [list(item) for item in inside.items()]}
    if not isinstance(value, list | tuple): return value
    items = [jsonable(v) for v in value]
    return items if isinstance(value, list) else {"$tuple": items}


def shuffled(seed, n):
    order = [*range(n)]
    random.Random(seed).shuffle(order)
    return order


def digits(name): return name[5:] if name.startswith("step-") and name[5:].isdecimal() and len(name) >= 13 else ""


RIGHT = {
    1: jsonable,
    2: whole,
    3: lambda names, damaged: next((n for n in sorted(names, key=lambda n: (len(digits(n)), n), reverse=True) if digits(n) and n not in damaged), None),
    4: lambda a, b: next((i for i in range(min(len(a), len(b))) if struct.pack("d", a[i]) != struct.pack("d", b[i])), None),
    5: lambda step, n, b, seed: shuffled(f"{seed}-{step//(n//b)}", n)[step % (n//b)*b:][:b],
}
WRONG = {
    1: [lambda value: value,  # as it is
        lambda value: {"$tuple": list(value)} if isinstance(value, tuple) else value,  # the top only
        lambda value: json.loads(json.dumps(value)),  # bent
        lambda value: jsonable(value) if not isinstance(value, dict) else {k: jsonable(v) for k, v in value.items()},  # a number as key
        lambda value: jsonable(value) if not isinstance(value, dict) else {"$dict": [[k, jsonable(v)] for k, v in value.items()]}],  # every dict
    2: [lambda data: len(data) >= 8,  # the header only
        lambda data: whole(data) or len(data) > 8 and whole(data[:-1]),  # bytes too many
        lambda data: len(data) >= 8 and whole(data[:8][::-1] + data[8:]),  # the other end first
        lambda data: whole(data) if len(data) >= 8 else True],
    3: [lambda names, damaged: max((n for n in names if digits(n) and n not in damaged), default=None),  # as text
        lambda names, damaged: RIGHT[3](names, []),  # damaged ones, too
        lambda names, damaged: (lambda n: None if n in damaged else n)(RIGHT[3](names, [])),  # gives up at the first
        lambda names, damaged: max((n for n in names if "step-" in n and n not in damaged), default=None)],  # temporary ones, too
    4: [lambda a, b: next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), None),  # the sign of zero
        lambda a, b: next((i for i, (x, y) in enumerate(zip(a, b)) if not math.isclose(x, y)), None),  # close
        lambda a, b: None if RIGHT[4](a, b) is None else RIGHT[4](a, b) + 1,  # counted from 1
        lambda a, b: RIGHT[4](a, b) or None],  # index 0 is false
    5: [lambda step, n, b, seed: shuffled(f"{seed}-{step*b//n}", n)[step*b % n:][:b],  # the short batch shown
        lambda step, n, b, seed: shuffled(f"{seed}-0", n)[step % (n//b)*b:][:b],  # the same order in each epoch
        lambda step, n, b, seed: shuffled(f"{seed}-{step//(n//b)}", n)[step % (n//b):][:b],  # windows counted, not batches
        lambda step, n, b, seed: shuffled(f"{seed + step//(n//b)}", n)[step % (n//b)*b:][:b]],  # another seed
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"05d.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"05d.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"05d.{number}")
    assert len(list(exercise.cases())) >= 20 and repr(list(exercise.cases())) == repr(list(exercise.cases()))
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"05d.{number}"), lambda *_: ...) == (False, "not attempted yet")
