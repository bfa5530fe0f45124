"The graders of notebook 08b reject planted mistakes and accept right answers written anew."
from collections import Counter

import pytest

from minillm.exercises.grading import find, verdict


def targets(ids, mask):
    out = []
    for t, token in enumerate(ids):
        if t: out.append(token if mask[t] else -100)
    return out


def places(ids, end):
    out, start = [], 0
    for t, token in enumerate(ids):
        out.append(t - start)
        if token == end: start = t + 1
    return out


def first_fit(lengths, room, best=False, strict=False, drop=True, last=False):
    rows = []
    for i, n in enumerate(lengths):
        if n > room and drop: continue
        free = [room - sum(lengths[j] for j in row) for row in rows]
        fits = [r for r in range(len(rows)) if free[r] > n or (free[r] == n and not strict)]
        if best: fits.sort(key=lambda r: free[r])
        if last: fits = fits[::-1]
        if fits: rows[fits[0]].append(i)
        else: rows.append([i])
    return rows


def overlap(a, b):
    if not a or not b: return 1.0 if a == b else 0.0
    return 2*sum((Counter(a) & Counter(b)).values())/(len(a) + len(b))


def two_means(nats, mask):
    means, total, n = [], 0.0, 0
    for values, asked in zip(nats, mask):
        found = [v for v, m in zip(values, asked) if m]
        total, n = total + sum(found), n + len(found)
        if found: means.append(sum(found)/len(found))
    return (total/n, sum(means)/len(means)) if n else (0, 0)


def next_fit(lengths, room):
    rows, left = [], 0
    for i, n in enumerate(lengths):
        if n > room: continue
        if n > left or not rows: rows, left = [*rows, []], room
        rows[-1].append(i)
        left -= n
    return rows


RIGHT = {1: targets, 2: places, 3: first_fit, 4: overlap, 5: two_means}
WRONG = {
    1: [lambda ids, mask: [i if m else -100 for i, m in zip(ids, mask)],  # not shifted
        lambda ids, mask: [i if m else -100 for i, m in zip(ids[1:], mask)],  # the mask of the token that asks
        lambda ids, mask: ids[1:],  # everything is asked
        lambda ids, mask: [i if m else 0 for i, m in zip(ids[1:], mask[1:])]],  # 0 is a token
    2: [lambda ids, end: list(range(len(ids))),  # one text
        lambda ids, end: [t - max([0, *(u for u in range(t + 1) if ids[u] == end)]) for t in range(len(ids))],  # the end begins the next
        lambda ids, end: [p + 1 for p in places(ids, end)],  # from one
        lambda ids, end: [0 if token == end else p for token, p in zip(ids, places(ids, end))]],  # ends stand nowhere
    3: [next_fit,  # looks at the newest row only
        lambda lengths, room: first_fit(lengths, room, best=True),
        lambda lengths, room: first_fit(lengths, room, strict=True),  # a full row is refused
        lambda lengths, room: first_fit(lengths, room, drop=False),
        lambda lengths, room: first_fit([n for n in lengths if n <= room], room)],  # other numbers
    4: [lambda a, b: float(a == b) if not a or not b else 2*len(set(a) & set(b))/(len(set(a)) + len(set(b))),  # no repetitions
        lambda a, b: float(a == b) if not a or not b else 2*sum(w in b for w in a)/(len(a) + len(b)),  # a word shared twice with one
        lambda a, b: float(a == b) if not a or not b else sum((Counter(a) & Counter(b)).values())/len(b),  # recall
        lambda a, b: 0.0 if not a or not b else overlap(a, b)],  # two empty ones
    5: [lambda nats, mask: (two_means(nats, mask)[0],)*2,
        lambda nats, mask: two_means(nats, [[1]*len(m) for m in mask]),  # all asked
        lambda nats, mask: (two_means(nats, mask)[0], sum(sum(v*a for v, a in zip(n, m))/max(1, sum(m)) for n, m in zip(nats, mask))/max(1, len(nats))),
        lambda nats, mask: two_means(nats, mask)[::-1]],
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"08b.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_wrong_answer_is_rejected(number, index):
    "A planted mistake fails."
    assert not verdict(find(f"08b.{number}"), WRONG[number][index])[0]
