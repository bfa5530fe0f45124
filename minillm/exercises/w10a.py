"Exercises of notebook 10a: likelihood, one opinion a prompt, pairs from a ranking, a judge asked twice, lengths in balance."
import math
import random
from collections import Counter, defaultdict

from minillm.exercises.grading import Exercise


def log_likelihood(scores, comparisons):
    gaps = [scores[i] - scores[j] for i, j in comparisons]
    return sum(min(g, 0) - math.log1p(math.exp(-abs(g))) for g in gaps)


def by_prompt(prompts, outcomes):
    of = defaultdict(list)
    for prompt, outcome in zip(prompts, outcomes): of[prompt].append(outcome)
    return (sum(sum(v) / len(v) for v in of.values()) / len(of), len(of)) if of else (0.5, 0)


def all_pairs(scores, margin):
    found = [(i, j) for i, a in enumerate(scores) for j, b in enumerate(scores) if a - b >= margin]
    return sorted(found, key=lambda ij: (scores[ij[1]] - scores[ij[0]], ij))


def both_orders(first, second):
    def won(x, y): return 1 if (x, y) == ("first", "second") else 0 if (x, y) == ("second", "first") else 0.5
    return sum(won(x, y) for x, y in zip(first, second)) / len(first)


def balance(differences):
    counts, used, keep = Counter(differences), Counter(), []
    for i, d in enumerate(differences):
        used[d] += 1
        if used[d] <= min(counts[d], counts[-d]): keep.append(i)
    return keep


def comparisons():
    rng = random.Random(0)
    yield from (([0.0], []), ([0.0, 0.0], [(0, 1)]), ([1.0, 0.0], [(0, 1)]), ([1.0, 0.0], [(1, 0)]), ([0.5, 2.0], [(0, 1), (1, 0), (1, 0)]),
                ([2000.0, 0.0], [(0, 1)]), ([2000.0, 0.0], [(1, 0)]))
    for _ in range(20):
        n = rng.randint(2, 6)
        yield [rng.uniform(-4, 4) for _ in range(n)], [tuple(rng.sample(range(n), 2)) for _ in range(rng.randint(1, 9))]


def opinions():
    rng = random.Random(1)
    yield from (([], []), (["a"], [1]), (["a", "b"], [1, 0]), (["a", "a"], [1, 0]), (["a", "a", "b"], [1, 1, 0]), (["a", "b", "a"], [0.5, 0, 1]))
    for _ in range(20):
        n = rng.randint(1, 12)
        yield [rng.choice("abcd") for _ in range(n)], [rng.choice((0, 0.5, 1)) for _ in range(n)]


def rankings():
    rng = random.Random(2)
    yield from (([], 1), ([1], 1), ([1, 0], 1), ([0, 1], 1), ([1, 1], 1), ([2, 0, 1], 1), ([0, 2, 4], 2), ([1, 0, 1, 0], 1))
    for _ in range(20): yield [rng.randint(0, 12) / 4 for _ in range(rng.randint(2, 7))], rng.choice((0.25, 0.5, 1))


def verdicts():
    rng, words = random.Random(3), ("first", "second", "tie")
    yield from ((["first"], ["second"]), (["second"], ["first"]), (["first"], ["first"]), (["tie"], ["second"]), (["first"], ["tie"]),
                (["tie"], ["tie"]))
    for _ in range(20):
        n = rng.randint(1, 12)
        yield rng.choices(words, k=n), rng.choices(words, k=n)


def lengths():
    rng = random.Random(4)
    yield from (([],), ([0],), ([3],), ([3, -3],), ([3, 3, -3],), ([0, 0, 5],), ([-2, 2, 2, -2, -2],), ([1, -2],))
    for _ in range(20): yield ([rng.randint(-4, 4) for _ in range(rng.randint(1, 14))],)


EXERCISES = {
    1: Exercise(log_likelihood, comparisons, ["Each comparison adds ln sigma(winner's score - loser's).",
                                              "ln sigma(g) = -ln(1 + e^-g), and e^2000 overflows: use the sign of g.",
                                              "min(g, 0) - log1p(exp(-|g|)) is the same for both signs."]),
    2: Exercise(by_prompt, opinions, ["Gather the outcomes of each prompt first.", "A prompt's opinion is the mean of its outcomes.",
                                      "Then the mean over prompts; without any, (0.5, 0)."]),
    3: Exercise(all_pairs, rankings, ["Every two different places, in both directions; margin decides.", "A difference equal to margin counts.",
                                      "Sort by (-difference, (better, worse))."]),
    4: Exercise(both_orders, verdicts, ["In `second`, answer A stands at the second place.", "A wins with 'first' in first and 'second' in second.",
                                        "One verdict for A and a tie is a tie."]),
    5: Exercise(balance, lengths, ["Count how often each difference occurs.", "Of +d and -d, keep min of the two counts each, the earliest.",
                                   "Of 0, both counts are the same one: all stay."]),
}
