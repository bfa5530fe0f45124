"Exercises of notebook 02f: the copy that stays, shards, the target, sides, and the recall of removing copies."
import random
from collections import Counter

from minillm.corpus import SIDES
from minillm.exercises.grading import Exercise


def survivors(lengths, keys, groups):
    chosen = {}
    for i in sorted(range(len(groups)), key=lambda i: (-lengths[i], keys[i])): chosen.setdefault(groups[i], i)
    return sorted(chosen.values())


def rows_in_shards(sizes, shard_bytes):
    out, held = [0], 0
    for size in sizes:
        out[-1], held = out[-1] + 1, held + size
        if held >= shard_bytes: out.append(0); held = 0
    return out if out[-1] else out[:-1]


def reach_target(tokens, keep, target):
    out, total = [], 0
    for i, good in enumerate(keep):
        if good and (target == 0 or total < target): out.append(i); total += tokens[i]
    return out


def sides_of(own, groups):
    strictest = {g: max(SIDES.index(s) for s, h in zip(own, groups) if h == g) for g in groups}
    return [side or SIDES[strictest[g]] or "train" for side, g in zip(own, groups)]


def copies_recall(groups, kept):
    before, after = Counter(groups), Counter(g for g, k in zip(groups, kept) if k)
    should = len(groups) - len(before)
    return sum(n - max(1, after[g]) for g, n in before.items()) / should if should else 1.0


def collections_of_copies():
    rng = random.Random(0)
    yield from (([], [], []), ([5], [1], [0]), ([5, 5], [2, 1], [0, 0]), ([5, 7], [1, 2], [0, 0]), ([5, 7], [1, 2], [0, 1]))
    for _ in range(24):
        n = rng.randint(2, 10)
        yield [rng.randint(1, 4) for _ in range(n)], rng.sample(range(1000), n), [rng.randint(0, 3) for _ in range(n)]


def files():
    rng = random.Random(1)
    yield from (([], 10), ([3], 10), ([10], 10), ([10, 1], 10), ([4, 4, 4], 10), ([50, 50], 10))
    for _ in range(24): yield [rng.randint(1, 30) for _ in range(rng.randint(1, 15))], rng.randint(1, 60)


def targets():
    rng = random.Random(2)
    yield from (([], [], 5), ([3], [True], 5), ([3, 3, 3], [True] * 3, 5), ([3, 3, 3], [True] * 3, 6), ([3, 3], [False, True], 3),
                ([3, 3, 3], [False, True, True], 3), ([3, 3], [True, True], 0))
    for _ in range(24):
        n = rng.randint(1, 12)
        yield [rng.randint(1, 9) for _ in range(n)], [rng.random() < 0.7 for _ in range(n)], rng.choice((0, rng.randint(1, 40)))


def sides():
    rng = random.Random(3)
    yield from (([], []), ([""], [0]), (["val"], [0]), (["", "val"], [0, 0]), (["", "val"], [0, 1]), (["train", "val"], [0, 0]),
                (["", "test", "val"], [0, 0, 0]), (["", "train", ""], [0, 0, 0]))
    for _ in range(24):
        n = rng.randint(2, 9)
        yield [rng.choice(("", "", *SIDES)) for _ in range(n)], [rng.randint(0, 3) for _ in range(n)]


def judged():
    rng = random.Random(4)
    yield from (([0], [True]), ([0, 0], [True, True]), ([0, 0], [True, False]), ([0, 0], [False, False]), ([0, 1], [True, False]),
                ([0, 0, 0, 1, 1], [True, True, False, False, False]))
    for _ in range(24):
        n = rng.randint(2, 10)
        yield [rng.randint(0, 3) for _ in range(n)], [rng.random() < 0.5 for _ in range(n)]


EXERCISES = {
    1: Exercise(survivors, collections_of_copies, [
        "Walk through the documents once and remember the best index of each group.",
        "Compare (-length, key): the smaller pair wins.",
        "Return indices, sorted, one for each group; all keys are distinct.",
    ]),
    2: Exercise(rows_in_shards, files, [
        "The row that makes a file full still belongs to it.",
        "Full means shard_bytes or more.",
        "No file is empty, at the end neither.",
    ]),
    3: Exercise(reach_target, targets, [
        "Look at the sum before a row is taken, not after.",
        "Rows with a reason take nothing from the target.",
        "The row that crosses the target is kept; a target of 0 is none.",
    ]),
    4: Exercise(sides_of, sides, [
        "A side that a document brought is never changed.",
        "First the strictest side of each group, then a second walk.",
        "Strictness is the position in ['', 'train', 'val', 'test'].",
    ]),
    5: Exercise(copies_recall, judged, [
        "Of a group of n documents n - 1 should go.",
        "From a group of which nothing is left, count n - 1, not n.",
        "Divide the sum of n - max(1, left) by the sum of n - 1; 1.0 where that is zero.",
    ]),
}
