"Exercises of notebook 05c: a step of AdamW, a polar factor, a schedule, clipping, means of parts, a loss scale."
import math, random

import torch

from minillm.exercises.grading import Exercise
from minillm.optim import LossScaler


def adamw_step(w, g, m, v, t, lr, beta1, beta2, eps, decay):
    m, v = torch.lerp(g, m, beta1), torch.lerp(g*g, v, beta2)
    return w*(1 - lr*decay) - lr*(m/(1 - beta1**t))/((v/(1 - beta2**t)).sqrt() + eps), m, v


def polar(M):
    U, _, Vh = torch.linalg.svd(M, full_matrices=False)
    return U @ Vh


def wsd_share(step, max_steps, warmup_steps, decay_steps):
    if step < warmup_steps: return (step + 1)/(warmup_steps + 1)
    if step <= max_steps - decay_steps: return 1.0
    return 1 - math.sqrt(min(1.0, (step - max_steps + decay_steps)/decay_steps))


def clipped(grads, max_norm):
    norm = torch.cat([g.flatten() for g in grads]).norm().item()
    return [g*(max_norm/norm) if norm > max_norm else g for g in grads]


def mean_of_parts(losses, asked):
    return sum(loss*n for loss, n in zip(losses.tolist(), asked) if n > 0)/max(1, sum(asked))


def scale_after(finite, scale, growth_interval):
    scaler = LossScaler(scale=scale, growth_interval=growth_interval)
    p = torch.nn.Parameter(torch.zeros(1))
    for ok in finite:
        p.grad = torch.tensor([1.0 if ok else math.inf])
        scaler.unscale([p])
    return scaler.scale


def steps():
    g = torch.Generator().manual_seed(0)
    yield torch.tensor([1.0]), torch.tensor([2.0]), torch.zeros(1), torch.zeros(1), 1, 0.1, 0.9, 0.99, 1e-8, 0.0
    yield torch.tensor([1.0]), torch.tensor([0.0]), torch.zeros(1), torch.zeros(1), 1, 0.1, 0.9, 0.99, 1e-8, 0.5
    rng = random.Random(0)
    for _ in range(22):
        w, grad, m, v = torch.randn(4, rng.randint(1, 4), rng.randint(1, 4), generator=g)
        yield w, grad, m, v.square(), rng.randint(1, 50), 10**rng.uniform(-3, -1), 0.9, rng.choice((0.95, 0.999)), 10**rng.uniform(-8, -2), rng.uniform(0, 0.5)


def matrices():
    g, rng = torch.Generator().manual_seed(1), random.Random(1)
    yield (torch.eye(2)*torch.tensor([3.0, -2.0]),)
    yield (torch.tensor([[0.0, 5.0]]),)
    for _ in range(22):
        m, n = rng.choice([(3, 3), (2, 5), (6, 2), (4, 7), (8, 3)])
        yield (torch.randn(m, n, generator=g, dtype=torch.float64) + 0.1*torch.eye(m, n),)


def schedules():
    yield from ((0, 10, 2, 4), (1, 10, 2, 4), (2, 10, 2, 4), (6, 10, 2, 4), (7, 10, 2, 4), (9, 10, 2, 4), (10, 10, 2, 4), (0, 5, 0, 1))
    rng = random.Random(2)
    for _ in range(24):
        warmup, plateau, decay = rng.randint(0, 50), rng.randint(0, 200), rng.randint(1, 80)
        yield rng.randint(0, warmup + plateau + decay), warmup + plateau + decay, warmup, decay


def gradients():
    g, rng = torch.Generator().manual_seed(3), random.Random(3)
    yield [torch.tensor([3.0, 4.0])], 1.0
    yield [torch.tensor([3.0]), torch.tensor([[4.0]])], 2.5
    yield [torch.tensor([3.0, 4.0])], 10.0
    yield [torch.zeros(2)], 1.0
    for _ in range(20): yield [torch.randn(rng.randint(1, 4), 3, generator=g) for _ in range(rng.randint(1, 3))], 10**rng.uniform(-1, 1)


def parts():
    yield from ((torch.tensor(losses), asked) for losses, asked in (
        ([2.0, 4.0], [1, 1]), ([2.0, 4.0], [3, 1]), ([2.0, math.nan], [3, 0]), ([math.nan], [0]), ([math.nan, 1.0], [0, 2])))
    rng = random.Random(4)
    for _ in range(20):
        asked = [rng.choice((0, rng.randint(1, 512))) for _ in range(rng.randint(1, 8))]
        yield torch.tensor([rng.uniform(0, 8) if n else math.nan for n in asked]), asked


def histories():
    yield from (([], 8.0, 2), ([True], 8.0, 2), ([False], 8.0, 2), ([True, True], 8.0, 2), ([True, False, True], 8.0, 2), ([True]*4, 8.0, 2))
    rng = random.Random(5)
    for _ in range(20): yield [rng.random() < 0.8 for _ in range(rng.randint(3, 40))], 2.0**rng.randint(0, 16), rng.randint(1, 5)


EXERCISES = {
    1: Exercise(adamw_step, steps, [
        "Both averages first, with the new gradient in them.",
        "Divide m by 1 - beta1**t and v by 1 - beta2**t before they are used, not in what is returned.",
        "eps stands outside the root; the decay shrinks the old weight, whatever its gradient.",
    ]),
    2: Exercise(polar, matrices, [
        "torch.linalg.svd gives U, the singular values, and V transposed.",
        "full_matrices=False keeps U (m, k) and Vh (k, n) with k the smaller side.",
        "Of the three factors one is left out: with all its numbers 1 it would be an identity.",
    ]),
    3: Exercise(wsd_share, schedules, [
        "Three pieces: which one is the step in?",
        "The decay begins at max_steps - decay_steps, where x is 0.",
        "At max_steps itself exactly nothing is left; beyond it nothing either.",
    ]),
    4: Exercise(clipped, gradients, [
        "One norm over all tensors together: the root of the sum of all squares.",
        "The factor is max_norm/norm if the norm is above max_norm, else 1.",
        "Multiply into new tensors, and mind a norm of 0.",
    ]),
    5: Exercise(mean_of_parts, parts, [
        "A part counts by the tokens it asks for.",
        "NaN times 0 is NaN: leave such a part out before multiplying.",
        "What is divided by counts tokens, not parts, and may be 0.",
    ]),
    6: Exercise(scale_after, histories, [
        "Two numbers walk along: the scale, and how many good steps there were in a row.",
        "A bad step halves the scale and sets the count to 0.",
        "Doubling, too, sets the count to 0.",
    ]),
}
