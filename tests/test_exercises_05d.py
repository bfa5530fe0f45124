"The graders of notebook 05d reject planted mistakes and accept right answers written anew."
import json, math, struct

import pytest

from minillm.exercises.grading import find, verdict


def whole(data):
    try:
        n, = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + n])
    except (struct.error, ValueError): return False
    header.pop("__metadata__", None)
    return len(data) - 8 - n == max([v["data_offsets"][1] for v in header.values()] or [0]) if len(data) >= 8 + n else False


def digits(name): return name[5:] if name.startswith("step-") and name[5:].isdecimal() and len(name) >= 13 else ""


RIGHT = {
    1: lambda saves, keep: sorted({s for s, _ in saves[-keep:]} | {s for s, v in sorted(saves, key=lambda x: (x[1] is None, x[1] or 0))[:1] if v is not None}),
    2: whole,
    3: lambda names, damaged: next((n for n in sorted(names, key=lambda n: (len(digits(n)), n), reverse=True) if digits(n) and n not in damaged), None),
    4: lambda a, b: next((i for i in range(min(len(a), len(b))) if struct.pack("d", a[i]) != struct.pack("d", b[i])), None),
    5: lambda every, kills: sum(len(range((k - 1)//every*every, k - 1)) for k in kills),
}
# the mistake of comparing steps as text shows only where lengths differ, so the right one above sorts by length first
WRONG = {
    1: [lambda saves, keep: [s for s, _ in saves[-keep:]],  # the best forgotten
        lambda saves, keep: sorted({s for s, _ in saves[-keep:]} | {max(((v, s) for s, v in saves if v is not None), default=(0, saves[-1][0]))[1]}),  # highest
        lambda saves, keep: sorted({s for s, _ in saves[-keep:]} | {min(((v, s) for s, v in saves if v), default=(0, saves[-1][0]))[1]}),  # 0 is no score
        lambda saves, keep: sorted({s for s, _ in saves[-keep - 1:]} | set(RIGHT[1](saves, keep))),  # one too many
        lambda saves, keep: sorted([s for s, _ in saves[-keep:]] + [s for s in RIGHT[1](saves, 1)[:1]])],  # the best twice
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
    5: [lambda every, kills: sum(k % every for k in kills),  # the step that was cut off counted
        lambda every, kills: sum(k - 1 for k in kills),  # from the start each time
        lambda every, kills: max(((k - 1) % every for k in kills), default=0),  # the worst only
        lambda every, kills: sum((k - 1) % every for k in set(kills))],  # killed twice in one step
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
