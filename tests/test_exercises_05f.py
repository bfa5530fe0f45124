"The graders of notebook 05f reject planted mistakes and accept right answers written anew."
import math

import pytest

from minillm.exercises.grading import find, verdict


def batch_loss(losses, asked):
    total = 0.0
    for loss, n in zip(losses, asked):
        if n: total += n*loss
    return total/sum(asked) if any(asked) else 0


def parts(batch, each, fixed, limit):
    room = (limit - fixed)//each
    whole = [b for b in range(1, batch + 1) if not batch % b and b <= room]
    return (max(whole), batch//max(whole)) if whole else None


def resolve(preset, file, flags):
    strange = [name for name in sorted(set(file) | set(flags)) if name not in preset]
    if strange: return strange
    found = dict(preset)
    found.update(file)
    for name, value in flags.items():
        if value is not None: found[name] = value
    return found


def kept(steps, scores, keep):
    there = []
    for pair in zip(steps, scores):
        there.append(pair)
        best = min((s for _, s in there if s is not None), default=None)
        first = next((p for p in there if p[1] == best and best is not None), None)
        there = [p for i, p in enumerate(there) if i >= len(there) - keep or p == first]
    return [step for step, _ in there]


def kept_all_at_once(steps, scores, keep):
    scored = [(s, i) for i, s in enumerate(scores) if s is not None]
    stay = {*range(max(0, len(steps) - keep), len(steps)), *([min(scored, key=lambda p: (p[0], -p[1]))[1]] if scored else [])}
    return [steps[i] for i in sorted(stay)]


RIGHT = {1: batch_loss, 2: parts, 3: resolve, 4: kept,
         5: lambda saved, killed: sum(k - max((s for s in [0, *ss] if s < k), default=0) for ss, k in zip(saved, killed))}
WRONG = {
    1: [lambda losses, asked: sum(v for v in losses if v is not None)/max(1, len(losses)),  # the mean of means
        lambda losses, asked: sum(v*n for v, n in zip(losses, asked))/sum(asked),  # nothing asked
        lambda losses, asked: sum(v*n for v, n in zip(losses, asked) if n),  # not divided
        lambda losses, asked: sum(v for v in losses if v is not None)/max(1, sum(n > 0 for n in asked))],  # equal weights
    2: [lambda b, e, f, m: (min(b, (m - f)//e), -(-b//min(b, (m - f)//e))) if m >= f + e else None,  # no divisor
        lambda b, e, f, m: next(((B, b//B) for B in range(b, 0, -1) if b % B == 0 and f + B*e < m), None),  # the limit itself fits
        lambda b, e, f, m: next(((B, b//B) for B in range(b, 0, -1) if b % B == 0 and B*(e + f) <= m), None),  # fixed counted often
        lambda b, e, f, m: next(((B, b//B) for B in range(1, b + 1) if b % B == 0 and f + B*e <= m), None)],  # the smallest
    3: [lambda p, f, g: p | f | g,  # None wins
        lambda p, f, g: p | {k: v for k, v in g.items() if v is not None} | f,  # the file wins
        lambda p, f, g: sorted({*f, *g} - p.keys()) or p | f | {k: v for k, v in g.items() if v},  # 0 is lost
        lambda p, f, g: sorted(f.keys() - p.keys()) or p | f | {k: v for k, v in g.items() if v is not None}],  # flags unchecked
    4: [lambda steps, scores, keep: steps[-keep:],  # the best forgotten
        kept_all_at_once,  # the later one of equals
        lambda steps, scores, keep: kept(steps, [math.inf if s is None else s for s in scores], keep),  # None counts
        lambda steps, scores, keep: kept(steps, [None if s is None else -s for s in scores], keep)],  # the worst
    5: [lambda saved, killed: sum(k - max([0, *ss]) for ss, k in zip(saved, killed)),  # saves after the kill
        lambda saved, killed: sum(k - max(s for s in [0, *ss] if s <= k) for ss, k in zip(saved, killed)),  # at the very second
        lambda saved, killed: sum(k - max([s for s in ss if s < k], default=k) for ss, k in zip(saved, killed)),  # never saved
        lambda saved, killed: max((k - max(s for s in [0, *ss] if s < k) for ss, k in zip(saved, killed)), default=0)],  # one only
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"05f.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_wrong_answer_is_rejected(number, index):
    "A planted mistake fails."
    assert not verdict(find(f"05f.{number}"), WRONG[number][index])[0]
