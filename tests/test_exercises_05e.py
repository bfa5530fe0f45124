"The graders of notebook 05e reject planted mistakes and accept right answers written anew."
import json
import math
import statistics

import pytest

from minillm.exercises.grading import find, verdict


def right_resume(lines, last):
    kept, bad = [], 0
    for text in lines:
        try:
            step = json.loads(text)["step"]
            if isinstance(step, bool) or not isinstance(step, int): raise TypeError
        except (ValueError, TypeError, KeyError): bad += 1
        else: kept += [text]*(step <= last)
    return kept, bad


def right_outliers(values, threshold):
    ordered = sorted(values)
    middle = lambda v: (v[(len(v) - 1)//2] + v[len(v)//2])/2
    spread = 1.4826*middle(sorted(abs(v - middle(ordered)) for v in values))
    return [i for i in range(len(values)) if abs(values[i] - middle(ordered)) > threshold*spread]


def right_within(rows, key, budget):
    for row in reversed(rows):
        if row.get(key, math.inf) <= budget and "val_loss" in row: return row["val_loss"]


def right_stop(losses, patience):
    best, since = math.inf, 0
    for i, loss in enumerate(losses):
        best, since = (loss, 0) if loss < best else (best, since + 1)
        if since == patience: return i


def lenient(lines, last):  # true and 1.0 pass for step 1
    rows = []
    for line in lines:
        try: rows.append(json.loads(line))
        except ValueError: rows.append(None)
    good = [isinstance(r, dict) and isinstance(r.get("step"), int | float) for r in rows]
    return [line for line, r, g in zip(lines, rows, good) if g and r["step"] <= last], good.count(False)


RIGHT = {1: lambda b: -1/math.log2(b), 2: right_resume, 3: right_outliers, 4: right_within, 5: right_stop}
WRONG = {
    1: [lambda b: 1/(1 - b),  # how far it looks back, not its half life
        lambda b: math.log(b)/math.log(0.5),  # upside down
        lambda b: round(math.log(0.5)/math.log(b))],  # whole steps
    2: [lambda lines, last: (right_resume(lines, last - 1)[0], right_resume(lines, last)[1]),  # the restored step lost
        lambda lines, last: (right_resume(lines, last)[0], len(lines) - len(right_resume(lines, last)[0])),  # later lines counted as damaged
        lambda lines, last: (right_resume(lines, last)[0], min(1, right_resume(lines, last)[1])),  # only a last line can be damaged
        lenient],
    3: [lambda v, t: [i for i, x in enumerate(v) if abs(x - statistics.mean(v)) > t*statistics.pstdev(v)],  # pulled up by what it looks for
        lambda v, t: [i for i in right_outliers(v, t) if v[i] > statistics.median(v)],  # one direction
        lambda v, t: right_outliers(v, t/1.4826),  # the factor forgotten
        lambda v, t: sorted(v[i] for i in right_outliers(v, t))],  # values instead of positions
    4: [lambda rows, k, b: min((r["val_loss"] for r in rows if "val_loss" in r and r.get(k, math.inf) <= b), default=None),  # the best
        lambda rows, k, b: right_within([r for r in rows if r.get(k) != b], k, b),  # below instead of at most
        lambda rows, k, b: next((r["val_loss"] for r in rows if "val_loss" in r and r.get(k, math.inf) <= b), None),  # the first
        lambda rows, k, b: right_within(rows, "step", b)],  # the wrong axis
    5: [lambda v, p: next((i for i in range(p, len(v)) if all(v[j] >= v[j - 1] for j in range(i - p + 1, i + 1))), None),  # rises in a row
        lambda v, p: right_stop(v, p + 1),  # one too many
        lambda v, p: None if right_stop(v, p) is None else right_stop(v, p) - p,  # the best instead of the stop
        lambda v, p: next((i for i in range(len(v)) if i - max((j for j in range(i + 1) if v[j] == min(v[:i + 1]))) >= p), None)],  # ties improve
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"05e.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"05e.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"05e.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"05e.{number}"), lambda *_: ...) == (False, "not attempted yet")
