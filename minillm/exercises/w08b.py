"Exercises of notebook 08b: what is asked, where a token stands, rows that are full, words that are shared, two means."
import random

from minillm.exercises.grading import Exercise


def targets(ids, mask):
    return [ids[t] if mask[t] else -100 for t in range(1, len(ids))]


def places(ids, end):
    begins = [0, *(t + 1 for t, token in enumerate(ids) if token == end)]
    return [t - max(b for b in begins if b <= t) for t in range(len(ids))]


def first_fit(lengths, room):
    rows = []
    for i, n in enumerate(lengths):
        fitting = [row for row in rows if sum(lengths[j] for j in row) + n <= room]
        if n > room: continue
        if fitting: fitting[0].append(i)
        else: rows.append([i])
    return rows


def overlap(answer, reference):
    if not answer or not reference: return float(answer == reference)
    left, shared = list(reference), 0
    for word in answer:
        if word in left:
            left.remove(word)
            shared += 1
    return 2*shared/(len(answer) + len(reference))


def two_means(nats, mask):
    asked = [[v for v, m in zip(*pair) if m] for pair in zip(nats, mask)]
    asked = [values for values in asked if values]
    if not asked: return 0.0, 0.0
    return sum(map(sum, asked))/sum(map(len, asked)), sum(sum(v)/len(v) for v in asked)/len(asked)


def conversations():
    rng = random.Random(0)
    yield from (([5, 6], [0, 1]), ([5, 6], [0, 0]), ([5], [0]), ([7, 8, 9], [0, 1, 0]), ([7, 7, 7, 3], [0, 0, 1, 1]))
    for _ in range(20):
        n = rng.randint(2, 12)
        yield [rng.randint(0, 99) for _ in range(n)], [0, *(rng.randint(0, 1) for _ in range(n - 1))]


def packed_rows():
    rng = random.Random(1)
    yield from (([4], 0), ([4, 0], 0), ([4, 0, 5], 0), ([0, 4], 0), ([4, 5, 0, 0, 6], 0), ([9, 2, 9, 9, 2, 9], 2), ([], 0))
    for _ in range(20): yield [rng.choice((3, 3, 4, 5, 6)) for _ in range(rng.randint(1, 14))], 3


def pieces():
    rng = random.Random(2)
    yield from (([3], 4), ([4], 4), ([5], 4), ([2, 2], 4), ([3, 2, 1], 4), ([3, 3, 1, 1], 4), ([2, 3, 1, 2], 4), ([], 4), ([9, 1, 9, 1], 8))
    for _ in range(24):
        room = rng.randint(4, 20)
        yield [rng.randint(1, room + (rng.random() < 0.2)*3) for _ in range(rng.randint(1, 12))], room


def answers():
    rng = random.Random(3)
    yield from (([], []), (["a"], []), ([], ["a"]), (["a"], ["a"]), (["a"], ["b"]), (["a", "a"], ["a"]), (["a"], ["a", "a"]),
                (["a", "a", "b"], ["a", "a", "c"]), (["b", "a"], ["a", "b"]))
    for _ in range(20): yield [rng.choice("abcde") for _ in range(rng.randint(1, 8))], [rng.choice("abcde") for _ in range(rng.randint(1, 8))]


def losses():
    rng = random.Random(4)
    yield from (([[1.0]], [[1]]), ([[1.0, 2.0]], [[0, 1]]), ([[1.0], [2.0, 4.0]], [[1], [1, 1]]), ([[1.0], [2.0]], [[0], [1]]),
                ([[1.0], [2.0]], [[0], [0]]), ([], []))
    for _ in range(20):
        sizes = [rng.randint(1, 6) for _ in range(rng.randint(1, 5))]
        yield [[rng.uniform(0, 9) for _ in range(n)] for n in sizes], [[int(rng.random() < 0.6) for _ in range(n)] for n in sizes]


EXERCISES = {
    1: Exercise(targets, conversations, ["The answer is one shorter than ids.", "Position t is asked for token t + 1, so the mask of t + 1 decides.",
                                         "zip(ids[1:], mask[1:])"]),
    2: Exercise(places, packed_rows, ["Count up, and begin anew behind an end.", "The end itself still counts on.",
                                      "Two ends side by side: the second is a conversation of its own, at position 0."]),
    3: Exercise(first_fit, pieces, ["Look at the rows in the order in which they were opened.", "What fills a row exactly still fits.",
                                    "Leave out what is longer than a row, and keep the numbers of the others."]),
    4: Exercise(overlap, answers, ["F1 is 2*shared/(words answered + words of the reference).", "A word said twice is shared twice only if it stands twice in both.",
                                   "If one list is empty, 1.0 when both are, else 0.0."]),
    5: Exercise(two_means, losses, ["Collect what is asked in each conversation first.", "Drop the conversations of which nothing is left.",
                                    "The first mean divides by tokens, the second by conversations."]),
}
