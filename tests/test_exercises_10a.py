"The graders of notebook 10a reject planted mistakes and accept right answers written anew."
import math

import pytest

from minillm.exercises.grading import find, verdict


def log_likelihood(scores, comparisons):
    total = 0.0
    for winner, loser in comparisons:
        gap = scores[winner] - scores[loser]
        total -= math.log(1 + math.exp(-gap)) if gap > -700 else -gap
    return total


def by_prompt(prompts, outcomes):
    if not prompts: return 0.5, 0
    means = [sum(o for q, o in zip(prompts, outcomes) if q == p) / prompts.count(p) for p in sorted(set(prompts))]
    return sum(means) / len(means), len(means)


def all_pairs(scores, margin):
    n = len(scores)
    rows = [(-(scores[i] - scores[j]), i, j) for i in range(n) for j in range(n) if i != j and scores[i] - scores[j] >= margin]
    return [(i, j) for _, i, j in sorted(rows)]


def both_orders(first, second):
    points = dict(first=1, second=-1, tie=0)
    for_a = [points[x] - points[y] for x, y in zip(first, second)]
    return sum(0.5 + 0.25 * s if abs(s) == 2 else 0.5 for s in for_a) / len(first)


def balance(differences):
    keep = []
    for d in set(map(abs, differences)):
        plus, minus = ([i for i, x in enumerate(differences) if x == s] for s in (d, -d))
        n = min(len(plus), len(minus))
        keep += plus[:n] + (minus[:n] if d else [])
    return sorted(keep)


RIGHT = {1: log_likelihood, 2: by_prompt, 3: all_pairs, 4: both_orders, 5: balance}
WRONG = {
    1: [lambda s, c: -sum(math.log1p(math.exp(-(s[i] - s[j]))) for i, j in c),  # overflows
        lambda s, c: sum(min(g, 0) - math.log1p(math.exp(-abs(g))) for g in (s[j] - s[i] for i, j in c)),  # winner and loser exchanged
        lambda s, c: log_likelihood(s, c) / max(1, len(c)),  # the mean
        lambda s, c: -log_likelihood(s, c)],  # the loss
    2: [lambda p, o: (sum(o) / len(o), len(set(p))) if p else (0.5, 0),  # every pair counts
        lambda p, o: (sum(dict(zip(p, o)).values()) / len(set(p)), len(set(p))) if p else (0.5, 0),  # the last pair of each
        lambda p, o: (by_prompt(p, o)[0], len(p)),  # pairs counted as prompts
        lambda p, o: by_prompt(p, o) if p else (0, 0),  # nothing is no defeat
        lambda p, o: by_prompt(p, [round(x + 0.01) for x in o])],  # a tie is a win
    3: [lambda s, m: [p for p in all_pairs(s, m) if s[p[0]] - s[p[1]] > m],  # the margin itself
        lambda s, m: sorted(all_pairs(s, m)),  # by places
        lambda s, m: all_pairs(s, m)[::-1],  # smallest first
        lambda s, m: [p for p in all_pairs(s, m) if s[p[0]] == max(s)]],  # against the best alone
    4: [lambda a, b: sum(x == "first" for x in a) / len(a),  # one order
        lambda a, b: (both_orders(a, b) + sum(x == y == "first" for x, y in zip(a, b)) / len(a)),  # the place won
        lambda a, b: sum((x == "first") + (y == "second") for x, y in zip(a, b)) / (2 * len(a)),  # votes added, ties as losses
        lambda a, b: sum((2 + (x == "first") - (x == "second") + (y == "second") - (y == "first")) / 4 for x, y in zip(a, b)) / len(a),  # mean
        lambda a, b: sum(x == "first" and y == "second" for x, y in zip(a, b)) / len(a)],  # a tie is a loss
    5: [lambda d: list(range(len(d))),  # all
        lambda d: [i for i in balance(d) if d[i]],  # zeros dropped
        lambda d: [i for i, x in enumerate(d) if -x in d],  # a partner for many
        lambda d: sorted(len(d) - 1 - i for i in balance(d[::-1]))],  # the latest
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"10a.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_wrong_answer_is_rejected(number, index):
    "A planted mistake fails."
    assert not verdict(find(f"10a.{number}"), WRONG[number][index])[0]
