"Exercises of notebook 05f: batches in parts, settings, checkpoints that stay, seconds that are lost."
import random

from minillm.exercises.grading import Exercise


def batch_loss(losses, asked):
    return sum(loss*n for loss, n in zip(losses, asked) if n)/max(1, sum(asked))


def parts(batch_size, sequence_bytes, fixed_bytes, limit_bytes):
    fits = [B for B in range(1, batch_size + 1) if batch_size % B == 0 and fixed_bytes + B*sequence_bytes <= limit_bytes]
    return (fits[-1], batch_size//fits[-1]) if fits else None


def resolve(preset, file, flags):
    strange = {*file, *flags} - preset.keys()
    return sorted(strange) if strange else preset | file | {k: v for k, v in flags.items() if v is not None}


def kept(steps, scores, keep):
    there = []
    for i, score in enumerate(scores):
        there.append(i)
        scored = [j for j in there if scores[j] is not None]
        there = sorted({*there[-keep:], *([min(scored, key=lambda j: (scores[j], j))] if scored else [])})
    return [steps[i] for i in there]


def lost_seconds(saved_at, killed_at):
    return sum(end - max((s for s in saves if s < end), default=0) for saves, end in zip(saved_at, killed_at))


def micro_batches():
    rng = random.Random(0)
    yield from (([2.0], [3]), ([1.0, 2.0], [1, 1]), ([1.0, 2.0], [1, 3]), ([1.0, None], [5, 0]), ([None], [0]), ([], []))
    for _ in range(20):
        asked = [rng.choice((0, rng.randint(1, 90))) for _ in range(rng.randint(1, 6))]
        yield [rng.uniform(0, 9) if n else None for n in asked], asked


def memories():
    rng = random.Random(1)
    yield from ((1, 1, 1, 2), (1, 1, 1, 1), (4, 1, 0, 3), (6, 10, 5, 35), (7, 10, 5, 40))
    for _ in range(24):
        batch, each, fixed = rng.randint(1, 96), rng.randint(1, 50), rng.randint(0, 500)
        yield batch, each, fixed, fixed + rng.randint(0, (batch + 2)*each)


def sources():
    preset = dict(lr=1e-3, steps=100, name=None)
    yield from ((preset, {}, {}), (preset, {"lr": 2}, {}), (preset, {"lr": 2}, {"lr": 3}), (preset, {"lr": 2}, {"lr": None}),
                (preset, {}, {"steps": 0}), (preset, {"name": "a"}, {"name": ""}), (preset, {"colour": 1}, {}), (preset, {}, {"colour": None}),
                (preset, {"lr": None}, {}), (preset, {"b": 1, "lr": 1}, {"a": 1}), (preset, {"b": 1}, {"b": 1}))


def histories():
    rng = random.Random(2)
    yield from (([1], [None], 1), ([1, 2, 3], [None]*3, 2), ([1, 2, 3], [0.5, 0.9, 0.8], 1), ([1, 2, 3], [0.5, 0.4, 0.6], 1),
                ([1, 2, 3, 4], [0.5, None, 0.5, 0.9], 1), ([1, 2, 3, 4, 5], [0.9, 0.5, None, 0.4, None], 1))
    for _ in range(24):
        n = rng.randint(1, 9)
        yield sorted(rng.sample(range(1, 90), n)), [rng.choice((None, rng.randint(1, 6)/2)) for _ in range(n)], rng.randint(1, 3)


def lives():
    rng = random.Random(3)
    yield from (([[]], [7]), ([[5]], [7]), ([[5, 7]], [7]), ([[5, 9]], [7]), ([[2, 4], []], [5, 3]), ([], []))
    for _ in range(20):
        n = rng.randint(1, 4)
        yield [sorted(rng.sample(range(1, 40), rng.randint(0, 6))) for _ in range(n)], [rng.randint(1, 40) for _ in range(n)]


EXERCISES = {
    1: Exercise(batch_loss, micro_batches, ["A part weighs as much as it asks.", "Leave a part that asks nothing out of the sum.",
                                            "The divisor is the number of all questions, at least 1."]),
    2: Exercise(parts, memories, ["Only divisors of batch_size give whole parts.", "Try them from the largest down.",
                                  "Reaching the limit exactly still fits."]),
    3: Exercise(resolve, sources, ["preset | file | flags is nearly it.", "Drop the flags that are None, and only those: 0 and '' were given.",
                                   "Look for strange names in both, before anything else; also under a flag that is None."]),
    4: Exercise(kept, histories, ["Go through the checkpoints in order, and prune after each.", "min takes the first of equals.",
                                  "A best one that falls behind a better one later is pruned then."]),
    5: Exercise(lost_seconds, lives, ["A process that never saved loses its whole life.", "Only saves before the kill count.",
                                      "Strictly before."]),
}
