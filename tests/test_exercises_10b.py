"The graders of notebook 10b reject planted mistakes and accept right answers written anew."
import math

import pytest
import torch

from minillm.exercises.grading import find, verdict


def best_policy(reference, rewards, beta):
    logits = torch.tensor(reference, dtype=torch.float64).log() + torch.tensor(rewards, dtype=torch.float64)/beta
    return logits.softmax(0).tolist()


def answer_logp(logps, mask):
    total, n = 0.0, 0
    for t in range(len(logps)):
        if mask[t + 1]: total, n = total + logps[t], n + 1
    return total, n


def gradient_weights(pc, pr, rc, rr, beta):
    h = torch.tensor([pc, rc, pr, rr], dtype=torch.float64)
    return (beta*torch.sigmoid(-beta*(h[0] - h[1] - h[2] + h[3]))).tolist()


def kl_estimates(policy, reference):
    p, r = (torch.tensor(t, dtype=torch.float64) for t in (policy, reference))
    return (p - r).mean().item(), ((r - p).exp() - 1 - (r - p)).mean().item()


def choose(runs, most):
    best = None
    for run in runs:
        if -run[2] > most: continue
        if best is None or (run[1], run[2]) > (best[1], best[2]): best = run
    return best and best[0]


def shares(weights): return [w/sum(weights) for w in weights]
def margins(pc, pr, rc, rr): return [(a - c) - (b - d) for a, b, c, d in zip(pc, pr, rc, rr)]


RIGHT = {1: best_policy, 2: answer_logp, 3: gradient_weights, 4: kl_estimates, 5: choose}
WRONG = {
    1: [lambda p, r, b: shares([q*math.exp(v/b) for q, v in zip(p, r)]),  # overflows
        lambda p, r, b: torch.tensor([v/b for v in r], dtype=torch.float64).softmax(0).tolist(),  # without the reference
        lambda p, r, b: best_policy(p, [v*b*b for v in r], b),  # times beta
        lambda p, r, b: shares([q*math.exp((v - max(r))/b) for q, v in zip(p, r)])],  # the largest is one that is never given
    2: [lambda logps, mask: (sum(v for v, m in zip(logps, mask) if m), sum(mask[:len(logps)])),  # one token too early
        lambda logps, mask: (sum(logps), len(logps)),  # the question counts
        lambda logps, mask: (answer_logp(logps, mask)[0], sum(mask)),  # token 0 counted
        lambda logps, mask: (answer_logp(logps, mask)[0]/max(1, answer_logp(logps, mask)[1]), answer_logp(logps, mask)[1])],  # a mean
    3: [lambda pc, pr, rc, rr, b: [b/(1 + math.exp(b*h)) for h in margins(pc, pr, rc, rr)],  # overflows
        lambda pc, pr, rc, rr, b: [b*(0.5 + 0.5*math.tanh(b*h/2)) for h in margins(pc, pr, rc, rr)],  # settled pairs push most
        lambda pc, pr, rc, rr, b: [v/b for v in gradient_weights(pc, pr, rc, rr, b)],  # beta forgotten
        lambda pc, pr, rc, rr, b: gradient_weights(pc, pr, [0.0]*len(pc), [0.0]*len(pc), b)],  # no reference
    4: [lambda p, r: kl_estimates(r, p),  # the other direction
        lambda p, r: (-kl_estimates(p, r)[0], kl_estimates(p, r)[1]),  # the sign
        lambda p, r: (kl_estimates(p, r)[0], sum(math.exp(a - b) - 1 - (a - b) for a, b in zip(p, r))/len(p)),  # k3 of the other ratio
        lambda p, r: tuple(v*len(p) for v in kl_estimates(p, r))],  # sums
    5: [lambda runs, most: max(runs, key=lambda run: run[1])[0] if runs else None,  # accuracy alone
        lambda runs, most: choose([run for run in runs if run[2] > -most], most),  # the limit itself is allowed
        lambda runs, most: choose([run for run in runs if abs(run[2]) <= most], most),  # a rise is refused
        lambda runs, most: next((n for n, *_ in sorted([r for r in runs if r[2] >= -most], key=lambda r: -r[1])), None)],  # ties
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"10b.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_wrong_answer_is_rejected(number, index):
    "A planted mistake fails."
    assert not verdict(find(f"10b.{number}"), WRONG[number][index])[0]
