"Exercises of notebook 05b: documents in a row, attention within them, what windows leave out, the position, a rank's share."
import random

from minillm.exercises.grading import Exercise


def documents_of(ids, end):
    out = [[]]
    for i in ids:
        if i == end: out.append([])
        else: out[-1].append(i)
    return out if out[-1] else out[:-1]


def same_document(starts, first, T):
    def number(place): return sum(start <= place for start in starts)
    return [[s <= t and number(first + s) == number(first + t) for s in range(T)] for t in range(T)]


def asked(n_tokens, T, first):
    n = 0
    while first + (n + 1) * T + 1 <= n_tokens: n += 1
    answers = {first + w * T + 1 + k for w in range(n) for k in range(T)}
    return n, min(answers), n_tokens - 1 - max(answers)


def position(n_windows, taken):
    places = [(epoch, index) for epoch, n in enumerate(n_windows) for index in range(n)]
    return places[taken]


def share(order, micro_batch_size, rank, world_size):
    batches = [order[k:k + micro_batch_size] for k in range(0, len(order), micro_batch_size)]
    batches = [b for b in batches if len(b) == micro_batch_size]
    whole = len(batches) // world_size * world_size
    return [w for batch in batches[:whole][rank::world_size] for w in batch]


def rows():
    rng = random.Random(0)
    yield from (([], 0), ([0], 0), ([5], 0), ([5, 0], 0), ([0, 5], 0), ([5, 0, 6], 0), ([5, 0, 0, 6, 0], 0), ([5, 0, 6], 6), ([6, 6], 6))
    for _ in range(20): yield [rng.choice((0, 0, 1, 2, 7)) for _ in range(rng.randint(2, 12))], 0


def windows():
    rng = random.Random(1)
    yield from (([0, 3], 0, 1), ([0, 3], 0, 3), ([0, 1, 3], 0, 3), ([0, 2, 4], 1, 3), ([0, 2, 5, 6], 1, 4), ([0, 2, 2, 5], 0, 5))
    for _ in range(20):
        starts = [0]
        for _ in range(rng.randint(1, 4)): starts.append(starts[-1] + rng.randint(1, 5))
        T = rng.randint(1, min(6, starts[-1]))
        yield starts, rng.randint(0, starts[-1] - T), T


def texts():
    rng = random.Random(2)
    yield from ((2, 1, 0), (5, 4, 0), (5, 2, 0), (6, 4, 0), (6, 4, 1), (9, 4, 0), (8, 4, 0), (9, 4, 3))
    for _ in range(20):
        T = rng.randint(1, 9)
        n = rng.randint(T + 1, 60)
        yield n, T, rng.randrange(min(T, n - T))


def journeys():
    rng = random.Random(3)
    yield from (([3], 0), ([3], 2), ([3, 3], 3), ([3, 3], 4), ([2, 3, 2], 5), ([1, 1, 1, 1], 3), ([5, 4], 5), ([4, 5], 4))
    for _ in range(20):
        n = [rng.randint(1, 9) for _ in range(rng.randint(1, 6))]
        yield n, rng.randrange(sum(n))


def orders():
    rng = random.Random(4)
    yield from (([], 1, 0, 1), ([7], 1, 0, 1), ([7], 1, 0, 2), ([7, 8], 1, 1, 2), ([7, 8, 9], 1, 0, 2), ([4, 7, 8, 9], 2, 0, 1), ([4, 7, 8, 9], 2, 1, 2))
    for _ in range(20):
        world = rng.randint(1, 4)
        yield rng.sample(range(30), rng.randint(0, 25)), rng.randint(1, 4), rng.randrange(world), world


EXERCISES = {
    1: Exercise(documents_of, rows, [
        "Gather ids until an end comes, then begin a new document.",
        "Two ends in a row have an empty document between them: [5, 0, 0, 6, 0] holds three.",
        "After the loop, what was gathered is a document only if it is not empty.",
    ]),
    2: Exercise(same_document, windows, [
        "Which document holds place p? Count the starts that are not beyond p (np.searchsorted with side='right').",
        "Row t and column s are the places first + t and first + s.",
        "Two conditions: s <= t, and the same document. bool(...), since NumPy's own True is another type.",
    ]),
    3: Exercise(asked, texts, [
        "A window needs T + 1 tokens, but shares one with its neighbour: n windows need n*T + 1.",
        "Before: the tokens at places 0 to first are never answers.",
        "Before and after, together with the n*T answers, are all n_tokens.",
    ]),
    4: Exercise(position, journeys, [
        "Take whole epochs away as long as they fit.",
        "An epoch that is just finished is over: with 3 windows and 3 taken, the next one is (1, 0).",
        "Compare what is left with the length of the epoch it has come to, not with the first one's.",
    ]),
    5: Exercise(share, orders, [
        "One step of all ranks takes micro_batch_size*world_size windows.",
        "Rank r has the r-th block of each step, not each world_size-th window.",
        "Only steps that are whole for all ranks count: with 5 windows, B = 2 and two ranks, one window is left out.",
    ]),
}
