"Exercises of notebook 10b: the optimal policy, an answer's log-probability, the push of a pair, distances, a choice."
import math
import random

from minillm.exercises.grading import Exercise


def best_policy(reference, rewards, beta):
    top = max(r for p, r in zip(reference, rewards) if p > 0)
    weights = [p*math.exp((r - top)/beta) if p > 0 else 0.0 for p, r in zip(reference, rewards)]
    return [w/sum(weights) for w in weights]


def answer_logp(logps, mask):
    asked = [logp for logp, m in zip(logps, mask[1:]) if m]
    return sum(asked), len(asked)


def gradient_weights(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta):
    margins = [(pc - rc) - (pr - rr) for pc, pr, rc, rr in zip(policy_chosen, policy_rejected, ref_chosen, ref_rejected)]
    return [beta*(0.5 - 0.5*math.tanh(beta*h/2)) for h in margins]


def kl_estimates(policy_logps, reference_logps):
    ratios = [r - p for p, r in zip(policy_logps, reference_logps)]
    return -sum(ratios)/len(ratios), sum(math.exp(v) - 1 - v for v in ratios)/len(ratios)


def choose(runs, most):
    allowed = [run for run in runs if run[2] >= -most]
    return max(allowed, key=lambda run: (run[1], run[2]))[0] if allowed else None


def policies():
    rng = random.Random(0)
    yield from (([1.0], [3.0], 1.0), ([0.5, 0.5], [0.0, 0.0], 1.0), ([0.5, 0.5], [1.0, 0.0], 1.0), ([0.5, 0.5], [1.0, 0.0], 0.1),
                ([0.9, 0.1, 0.0], [0.0, 1.0, 50.0], 1.0), ([0.25, 0.75], [4000.0, 3999.0], 1.0), ([0.0, 1.0], [5000.0, -5000.0], 0.5))
    for _ in range(20):
        n = rng.randint(2, 6)
        weights = [rng.random() for _ in range(n)]
        yield [w/sum(weights) for w in weights], [rng.uniform(-3, 3) for _ in range(n)], rng.choice((0.05, 0.3, 1.0, 5.0))


def masked():
    rng = random.Random(1)
    yield from (([-1.0], [0, 1]), ([-1.0, -2.0], [0, 0, 1]), ([-1.0, -2.0], [0, 1, 0]), ([-1.0, -2.0], [1, 0, 1]), ([-1.0, -2.0], [1, 0, 0]))
    for _ in range(20):
        n = rng.randint(1, 9)
        yield [rng.uniform(-9, 0) for _ in range(n)], [rng.randint(0, 1) for _ in range(n + 1)]


def margins():
    rng = random.Random(2)
    yield from (([-5.0], [-7.0], [-5.0], [-7.0], 0.1), ([-4.0], [-7.0], [-5.0], [-7.0], 0.1), ([-5.0], [-6.0], [-5.0], [-7.0], 2.0),
                ([-9000.0], [-10.0], [-10.0], [-9000.0], 1.0), ([-10.0], [-9000.0], [-9000.0], [-10.0], 1.0))
    for _ in range(20):
        n = rng.randint(1, 4)
        yield *([rng.uniform(-40, -5) for _ in range(n)] for _ in range(4)), rng.choice((0.01, 0.1, 0.5))


def samples():
    rng = random.Random(3)
    yield from (([-1.0], [-1.0]), ([-1.0], [-2.0]), ([-2.0], [-1.0]), ([-1.0, -3.0], [-2.0, -1.5]))
    for _ in range(20):
        n = rng.randint(1, 9)
        yield [rng.uniform(-5, 0) for _ in range(n)], [rng.uniform(-5, 0) for _ in range(n)]


def contests():
    rng = random.Random(4)
    yield from (([], 0.2), ([("a", 0.6, 0.1)], 0.2), ([("a", 0.9, -0.5)], 0.2), ([("a", 0.9, -0.5), ("b", 0.6, -0.1)], 0.2),
                ([("a", 0.7, -0.2)], 0.2), ([("a", 0.7, -0.1), ("b", 0.7, 0.3)], 0.2), ([("a", 0.7, 0.4), ("b", 0.8, -0.1)], 0.2),
                ([("a", 0.9, 0.5)], 0.2), ([("b", 0.7, -0.1), ("a", 0.7, -0.15)], 0.2))
    for _ in range(20):
        n = rng.randint(1, 6)
        yield [(f"run {i}", round(rng.uniform(0.4, 1), 1), rng.uniform(-0.6, 0.3)) for i in range(n)], rng.choice((0.05, 0.2, 0.4))


EXERCISES = {
    1: Exercise(best_policy, policies, ["Each weight is reference*exp(reward/beta), divided by their sum.",
                                        "Subtract the largest reward first: the quotient does not change, and exp cannot overflow.",
                                        "The largest reward among answers that the reference gives; skip the others, whose weight is 0."]),
    2: Exercise(answer_logp, masked, ["logps[t] belongs to token t + 1, so to mask[t + 1].", "zip(logps, mask[1:]) puts the two side by side.",
                                      "The number of tokens is that of the terms in the sum, not of the ones in mask."]),
    3: Exercise(gradient_weights, margins, ["h is (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected).",
                                            "beta*sigmoid(-beta*h): a settled pair pushes with next to nothing.",
                                            "sigmoid(z) is 0.5 + 0.5*tanh(z/2), and tanh never overflows."]),
    4: Exercise(kl_estimates, samples, ["The log-ratio is reference minus policy; k1 is its negative.", "k3 is exp(l) - 1 - l, and never negative.",
                                        "Take the mean over tokens of each."]),
    5: Exercise(choose, contests, ["First drop what fell too far; a shift of exactly -most is allowed.", "Then the highest accuracy.",
                                   "Of equals the larger shift: max with a pair as its key."]),
}
