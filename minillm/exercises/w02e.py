"Exercises of notebook 02e: the order of steps, reasons, batches, what is due after a stop, and results in order."
import heapq, random

from minillm.exercises.grading import Exercise
from minillm.refine import STEPS, batches
from minillm.sources import Item


def cheapest_order(costs, passes):
    def each(i): return costs[i] / (1 - passes[i]) if passes[i] < 1 else float("inf")
    return sorted(range(len(costs)), key=each)


def first_reasons(rows):
    counts = {}
    for reasons in filter(None, rows):
        step = reasons[0].split(":")[0]
        counts[step] = counts.get(step, 0) + 1
    return counts


def cut_points(sizes, limit):
    return [len(batch) for batch in batches([Item("", "file", "x" * size) for size in sizes], limit)]


def due(digests, shards):
    return [n for n, digest in enumerate(digests) if shards.get(n) != digest]


def finished_at(times, workers):
    free, out = [0.0] * workers, []
    for t in times:
        end = heapq.heappop(free) + t
        heapq.heappush(free, end)
        out.append(max(end, out[-1] if out else 0.0))
    return out


def chains():
    rng = random.Random(0)
    yield from (([1.0], [0.5]), ([2.0, 1.0], [0.5, 0.5]), ([1.0, 1.0], [0.9, 0.1]), ([1.0, 5.0], [1.0, 0.5]), ([1.0, 1.0, 1.0], [0.5, 0.5, 0.5]))
    for _ in range(24):
        n = rng.randint(2, 7)
        yield [rng.randint(1, 50) / 10 for _ in range(n)], [rng.choice((rng.randint(1, 9) / 10, 1.0)) for _ in range(n)]


def reasoned_rows():
    rng = random.Random(1)
    yield from (([],), ([[]],), ([["read: bad line"]],), ([["quality: a: b", "contaminated: c"], []],))
    for _ in range(24):
        steps = [[f"{s}: why: {rng.randint(0, 3)}" for s in STEPS[:5] if rng.random() < 0.3] for _ in range(rng.randint(1, 9))]
        yield (steps,)


def streams():
    rng = random.Random(2)
    yield from (([], 10), ([3], 10), ([10], 10), ([5, 5], 10), ([30, 1], 10), ([4, 4, 4], 10), ([0, 0], 10))
    for _ in range(24): yield [rng.choice((0, rng.randint(1, 40))) for _ in range(rng.randint(1, 15))], rng.randint(1, 50)


def stopped_runs():
    rng = random.Random(3)
    yield from (([], {}), (["a"], {}), (["a"], {0: "a"}), (["a"], {0: "b"}), (["a", "b"], {1: "b"}), (["a"], {0: "a", 1: "b"}))
    for _ in range(24):
        digests = [rng.choice("abcdef") for _ in range(rng.randint(1, 8))]
        yield digests, {n: rng.choice((digests[n] if n < len(digests) else "x", "z")) for n in range(len(digests) + 2) if rng.random() < 0.6}


def pools():
    rng = random.Random(4)
    yield from (([], 2), ([1.0], 1), ([1.0, 1.0], 1), ([3.0, 1.0], 2), ([1.0, 3.0, 1.0], 2), ([5.0, 1.0, 1.0, 1.0], 2))
    for _ in range(24): yield [rng.randint(1, 20) / 4 for _ in range(rng.randint(1, 12))], rng.randint(1, 4)


EXERCISES = {
    1: Exercise(cheapest_order, chains, [
        "Which of two neighbours should go first? Write both bills down and take one from the other.",
        "Sort by cost for a document removed: c/(1 - p).",
        "sorted(range(n), key=...) keeps ties in order; p == 1 divides by zero, so give it math.inf.",
    ]),
    2: Exercise(first_reasons, reasoned_rows, [
        "A row without reasons is kept, and counts nowhere.",
        "Only reasons[0] counts, whatever stands behind it.",
        "reason.partition(':')[0] is the step.",
    ]),
    3: Exercise(cut_points, streams, [
        "An item that makes the batch full still belongs to it.",
        "Full means limit or more, not more than limit.",
        "What is left at the end is a batch too, if it holds an item; an item may be empty.",
    ]),
    4: Exercise(due, stopped_runs, [
        "A shard is worth something only if it was made from exactly this batch.",
        "shards.get(n) is None where there is none.",
        "Shards with numbers beyond the last batch belong to nobody.",
    ]),
    5: Exercise(finished_at, pools, [
        "Keep the second at which each worker is free again.",
        "The next job goes to min(free), and ends there plus its time.",
        "A result waits for all results before it: the running maximum.",
    ]),
}
