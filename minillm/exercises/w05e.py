"Exercises of notebook 05e: moving averages, logs, outliers, budgets and early stopping."
import json, math, random, statistics

from minillm.exercises.grading import Exercise


def half_life(beta): return math.log(0.5)/math.log(beta)


def resume(lines, last_step):
    kept, damaged = [], 0
    for line in lines:
        try: row = json.loads(line)
        except ValueError: row = None
        if not isinstance(row, dict) or type(row.get("step")) is not int: damaged += 1
        elif row["step"] <= last_step: kept.append(line)
    return kept, damaged


def outliers(values, threshold):
    median = statistics.median(values)
    distance = [abs(v - median) for v in values]
    return [i for i, d in enumerate(distance) if d > threshold*1.4826*statistics.median(distance)]


def loss_within(rows, key, budget):
    losses = [r["val_loss"] for r in rows if "val_loss" in r and key in r and r[key] <= budget]
    return losses[-1] if losses else None


def stop_at(val_losses, patience):
    best = 0
    for i, loss in enumerate(val_losses):
        if loss < val_losses[best]: best = i
        if i - best >= patience: return i
    return None


def betas():
    yield from ((0.5,), (0.25,), (0.9,), (0.99,))
    rng = random.Random(0)
    for _ in range(20): yield (rng.uniform(0.01, 0.9999),)


def logs():
    good = [json.dumps({"step": s, "train_loss": 4 - s/4}) for s in range(1, 9)]
    yield [], 3
    yield good[:1], 1
    yield good[:3], 2
    yield [*good[:2], good[2][:-9]], 3
    yield [good[0], "", "7", "null", "[1]", good[1]], 5
    yield ['{"train_loss": 2.0}', '{"step": true}', '{"step": "1"}', '{"step": 1.0}', '{"step": 0}'], 5
    yield [good[0], '{"step": 2, "train_loss": null}', '{"step": 2, "val_loss": 3.5}', good[3]], 2
    rng = random.Random(1)
    for _ in range(20):
        lines = [line if rng.random() > 0.2 else line[:rng.randint(1, len(line) - 1)] for line in good[:rng.randint(2, 8)]]
        yield lines, rng.randint(0, 9)


def windows():
    yield [2.0], 3
    yield [4.0, 3.0, 3.5, 2.5, 9.0], 3
    yield [2.0, 2.0, 2.0, 5.0], 3
    yield [3.0, 3.1, 2.9, 3.0, -4.0, 3.2, 10.0], 4
    yield [1.0, 2.0, 3.0, 4.0, 40.0, 50.0], 6
    rng = random.Random(2)
    for _ in range(20):
        values = [rng.gauss(2.5, 0.2) for _ in range(rng.randint(3, 30))]
        for _ in range(rng.randint(0, 3)): values[rng.randrange(len(values))] += rng.choice((-1, 1))*rng.uniform(0.3, 6)
        yield values, rng.choice((2, 3, 6))


def budgets():
    yield [], "step", 5
    yield [{"step": 1, "val_loss": 4.0}], "step", 1
    yield [{"step": 1, "val_loss": 4.0}], "step", 0
    yield [{"step": 1, "val_loss": 4.0}, {"step": 2, "train_loss": 3.0}], "step", 2
    yield [{"step": 1, "val_loss": 4.0, "tokens": 64}, {"step": 2, "val_loss": 3.0}], "tokens", 128
    yield [{"step": 1, "val_loss": 2.0, "cpu_s": 0.5}, {"step": 2, "val_loss": 3.0, "cpu_s": 1.5}], "cpu_s", 2.0
    rng = random.Random(3)
    for _ in range(20):
        rows = [{"step": s, "tokens": 64*s, "cpu_s": 0.5*s} | ({"val_loss": round(rng.uniform(2, 4), 3)} if rng.random() > 0.5 else {})
                for s in range(1, rng.randint(3, 12))]
        key = rng.choice(("step", "tokens", "cpu_s"))
        yield rows, key, rng.choice(rows)[key]


def curves():
    yield [], 1
    yield [3.0], 1
    yield [3.0, 2.0, 2.5], 1
    yield [3.0, 2.0, 2.5, 1.0, 1.5, 1.5], 2
    yield [3.0, 3.0, 3.0], 2
    yield [3.0, 2.0, 2.5, 2.4, 1.9, 2.2, 2.1, 2.0], 3
    rng = random.Random(4)
    for _ in range(20):
        yield [round(3 - 0.2*i + 0.03*i*i + rng.gauss(0, 0.2), 1) for i in range(rng.randint(2, 12))], rng.randint(1, 4)


EXERCISES = {
    1: Exercise(half_life, betas, [
        "Each step multiplies the weight of everything older by beta.",
        "Solve beta**n = 1/2 for n.",
        "Logarithms turn the power into a product.",
    ]),
    2: Exercise(resume, logs, [
        "json.loads raises a ValueError for a torn line, and happily reads 7, null and [1].",
        "A line counts as damaged unless it is a dict whose step has type int; isinstance(True, int) is True.",
        "Whole lines of later steps are neither kept nor damaged.",
    ]),
    3: Exercise(outliers, windows, [
        "First the median of the values, then the distances to it, then their median.",
        "Both directions: the distance has no sign. And more than, not at least.",
        "When the deviation is zero, what does 'more than' mean for a value that differs?",
    ]),
    4: Exercise(loss_within, budgets, [
        "Leave out rows without a validation loss, and rows without the key.",
        "The last one, not the best one; at most includes the budget itself.",
        "Collect the losses of the rows that fit; the answer is the last of them, or None.",
    ]),
    5: Exercise(stop_at, curves, [
        "Remember the position of the best loss so far.",
        "Only a loss strictly below the best moves it.",
        "Return i as soon as i - best >= patience.",
    ]),
}
