"""What notebook 05c cannot measure in a minute: the learning-rate sweep, Muon against AdamW, and the cost of each saving.

`python tools/results_optim.py` writes nbs/results/optim.json after each point and skips the points already there, so that an
interrupted run goes on; `--trial` makes one short point of each kind, which a full run replaces. One thread. A cost is measured in a process of its own, so that its peak of memory is its own.
"""
import json, math, os, random, resource, subprocess, sys, tempfile, time

import torch
from torch.nn import functional as F

from course import RESULTS, ROOT, code_fingerprint, commit, machine, peak_mb, read_json, write_json
from minillm.bpe import train_bpe
from minillm.minigpt import PRESETS, GPTConfig, MiniGPT
from minillm.nanogpt import get_batch
from minillm.optim import OptimConfig, autocast, checkpoint_blocks, clip_grads, lr_share, make_optimizer, set_lr
from minillm.pydocs import documents, page

OUT = RESULTS/"optim.json"
OWN = "tools/results_optim.py:"
MODEL = [f"minillm/minigpt.py:{name}" for name in ("GPTConfig", "RMSNorm", "Attention", "MLP", "Gated", "gated", "Block", "MiniGPT", "PRESETS")]
STEP = [f"minillm/optim.py:{name}" for name in ("COEFFICIENTS", "SCALES", "orthogonalize", "_muon_step", "Muon", "block_matrices", "make_optimizer",
                                                "lr_share", "clip_grads")] + [OWN + name for name in ("BATCH", "SCHEDULE", "corpus", "Run")]
CODE = dict(  # What each kind of point depends on
    costs=[*MODEL, "minillm/optim.py:checkpoint_blocks", *(OWN + name for name in ("COSTS", "cost", "measure"))],
    sweep=[*MODEL, *STEP, *(OWN + name for name in ("RATES", "SWEEP_STEPS", "sweep"))],
    race=[*MODEL, *STEP, *(OWN + name for name in ("RACE_S", "RACE", "race"))])
SEEDS = (0, 1, 2)
SCHEDULE = dict(warmup_steps=40, schedule="wsd", decay_share=0.7, min_lr_share=0.05, weight_decay=0.1, betas=(0.9, 0.95), grad_clip=1.0)
RATES = dict(adamw=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2), muon=(1.5e-3, 5e-3, 1.5e-2, 5e-2))
SWEEP_STEPS = 400
RACE_S = 100  # CPU-seconds of each runner
RACE = {"AdamW": dict(optimizer="adamw", lr=3e-3), "Muon, 5 rounds": dict(optimizer="muon", lr=8e-3, muon_lr=0.015, muon_steps=5),
        "Muon, 3 rounds": dict(optimizer="muon", lr=8e-3, muon_lr=0.015, muon_steps=3)}
BATCH = 4  # Sequences of 128 tokens a step, the tour's
COSTS = {  # Name: precision, matmul precision, checkpointing, compiled
    "fp32": ("fp32", "highest", False, False), "fp32, medium": ("fp32", "medium", False, False),
    "bf16": ("bf16", "highest", False, False),
    "fp32, checkpointed": ("fp32", "highest", True, False), "bf16, checkpointed": ("bf16", "highest", True, False),
    "fp32, compiled": ("fp32", "highest", False, True), "bf16, compiled": ("bf16", "highest", False, True)}


def points(trial: bool) -> list[dict]:
    "Everything to measure: costs, then seed by seed, so that what is there at any time is a whole picture."
    found = [dict(kind="costs", what=what) for what in COSTS]
    for seed in SEEDS[:1] if trial else SEEDS:
        found += [dict(kind="race", seed=seed)]
        found += [dict(kind="sweep", optimizer=name, lr=lr, seed=seed) for name, lrs in RATES.items() for lr in lrs]
    return found


def corpus() -> dict:
    "Training and validation tokens of the embedded corpus, each text once, and the validation text's bytes."
    pages = {s: dict.fromkeys(page(d) for d in documents() if d.split == s) for s in ("train", "val")}
    texts = {"train": list(pages["train"]), "val": [p for p in pages["val"] if p not in pages["train"]]}
    tokenizer = train_bpe(texts["train"], PRESETS["tiny"]["vocab_size"], special_tokens=["<|end|>"])
    for s in texts: random.Random(0).shuffle(texts[s])
    ids = {s: torch.tensor([i for text in texts[s] for i in (*tokenizer.encode(text), 0)], dtype=torch.int32) for s in texts}
    return ids | dict(val_bytes=sum(len(t.encode()) for t in texts["val"]))


class Run:
    "One model in training, a step at a time."
    def __init__(self, data: dict, cfg: OptimConfig, seed: int, max_steps: int):
        torch.manual_seed(seed)
        self.data, self.cfg, self.seed, self.max_steps, self.taken, self.cpu_s = data, cfg, seed, max_steps, 0, 0.0
        self.model = MiniGPT(GPTConfig(**PRESETS["tiny"]))
        self.optimizer, self.T = make_optimizer(self.model, cfg), PRESETS["tiny"]["max_seq_len"]

    def loss(self, x, y): return F.cross_entropy(self.model(x).flatten(0, 1), y.flatten())

    def step(self) -> None:
        start = time.process_time()
        set_lr(self.optimizer, lr_share(self.taken, self.max_steps, self.cfg))
        loss = self.loss(*get_batch(self.data["train"], BATCH, self.T, 10**6*self.seed + self.taken))
        self.optimizer.zero_grad()
        loss.backward()
        if math.isfinite(clip_grads(self.model.parameters(), self.cfg.grad_clip)): self.optimizer.step()
        self.taken += 1
        self.cpu_s += time.process_time() - start

    @torch.no_grad()
    def bits_per_byte(self, every: int = 1) -> float:
        "On all validation windows, or on every so-many-th of them."
        ids, n = self.data["val"].long(), (len(self.data["val"]) - 1)//self.T
        x, y = (ids[i:n*self.T + i].view(n, self.T)[::every] for i in (0, 1))
        nats = sum(self.loss(*part).item()*len(part[0]) for part in zip(x.split(32), y.split(32)))/len(x)
        return nats/math.log(2)*len(ids)/self.data["val_bytes"]


def sweep(data: dict, optimizer: str, lr: float, seed: int, max_steps: int = SWEEP_STEPS) -> dict:
    "A run of SWEEP_STEPS at one rate."
    rates = dict(lr=8e-3, muon_lr=lr, muon_steps=5) if optimizer == "muon" else dict(lr=lr)
    cfg = OptimConfig(optimizer, **rates, **SCHEDULE)
    run = Run(data, cfg, seed, max_steps)
    for _ in range(max_steps): run.step()
    bits = run.bits_per_byte()
    return dict(bits_per_byte=bits if math.isfinite(bits) else None, cpu_s=run.cpu_s)


def race(data: dict, seed: int, race_s: float = RACE_S) -> dict:
    "Each runner for as many seconds: speeds first, in turns, then steps, in turns, each curve against its own seconds."
    speed = {}
    trial = {name: Run(data, OptimConfig(**cfg, **SCHEDULE), seed, 1000) for name, cfg in RACE.items()}
    for _ in range(30):
        for run in trial.values(): run.step()
    for name, run in trial.items(): speed[name] = run.cpu_s/run.taken
    runs = {name: Run(data, OptimConfig(**cfg, **SCHEDULE), seed, int(race_s/speed[name])) for name, cfg in RACE.items()}
    curves = {name: [] for name in runs}
    for tenth in range(1, 21):
        for name, run in runs.items():
            while run.taken < run.max_steps*tenth//20: run.step()
            curves[name].append((run.cpu_s, run.bits_per_byte(1 if tenth == 20 else 8)))
    return dict(runs=[dict(runner=name, seed=seed, steps=run.taken, cpu_s=run.cpu_s, curve=curves[name]) for name, run in runs.items()],
                cpu_s=sum(run.cpu_s for run in runs.values()))


def measure(what: str) -> dict:
    "Forward and backward of the preset `micro`, in this process: CPU-ms a step, MB beyond what stood before, seconds of the first step."
    precision, matmul, checkpointed, compiled = COSTS[what]
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision(matmul)
    torch.manual_seed(0)
    config = GPTConfig(**PRESETS["micro"])
    model = MiniGPT(config)
    if checkpointed: checkpoint_blocks(model)
    x = torch.randint(config.vocab_size, (8, config.max_seq_len))
    loss_of = lambda x: F.cross_entropy(model(x).flatten(0, 1).float(), x.flatten())
    loss_of = torch.compile(loss_of) if compiled else loss_of
    for p in model.parameters(): p.grad = torch.zeros_like(p)
    cpu = lambda: time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before, times = peak_mb(), []
    for _ in range(5):
        start = cpu()
        with autocast(precision): loss = loss_of(x)
        loss.backward()
        times.append(cpu() - start)
    return dict(ms=1e3*min(times[1:]), start_s=times[0] - min(times[1:]), peak_mb=peak_mb() - before, loss=loss.item(), cpu_s=sum(times))


def cost(data: dict, what: str) -> dict:
    "In a child process, compiled anew, not found in a cache."
    with tempfile.TemporaryDirectory() as cache:
        env = dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache, TORCHINDUCTOR_COMPILE_THREADS="1", OMP_NUM_THREADS="1")
        out = subprocess.run([sys.executable, __file__, "--measure", what], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return json.loads(out.stdout.splitlines()[-1])


def collected(done: list[dict]) -> dict:
    "The points as the notebook reads them."
    return dict(sweep=[p for p in done if p["kind"] == "sweep"], costs=[p for p in done if p["kind"] == "costs"],
                race=[run for p in done if p["kind"] == "race" for run in p["runs"]])


def main() -> None:
    "All points that the file does not have under the present code."
    if sys.argv[1:2] == ["--measure"]: return print(json.dumps(measure(sys.argv[2])))
    torch.set_num_threads(1)
    prints, code = {kind: code_fingerprint(names) for kind, names in CODE.items()}, sorted({n for names in CODE.values() for n in names})
    data, trial = corpus(), "--trial" in sys.argv
    done = [p for p in (read_json(OUT)["points"] if OUT.exists() else []) if p["code"] == prints[p["kind"]] and (trial or not p["trial"])]
    shorter = dict(race=dict(race_s=RACE_S/10), sweep=dict(max_steps=SWEEP_STEPS//5)) if trial else {}
    for i, point in enumerate(points(trial), 1):
        if any(point.items() <= d.items() for d in done): continue
        arguments = {k: v for k, v in point.items() if k != "kind"} | shorter.get(point["kind"], {})
        about = dict(code=prints[point["kind"]], trial=trial and point["kind"] in shorter)
        done.append(point | about | dict(sweep=sweep, race=race, costs=cost)[point["kind"]](data, **arguments))
        write_json(OUT, dict(name="optim", command="python tools/results_optim.py", seed=list(SEEDS), commit=commit(), machine=machine() | dict(threads=1),
                             cpu_seconds=round(sum(p["cpu_s"] for p in done), 1), code=code, fingerprint=code_fingerprint(code), points=done, values=collected(done)))
        print(f"{i}/{len(points(trial))} {({k: v for k, v in done[-1].items() if k not in ('runs', 'code')})}", flush=True)


if __name__ == "__main__": main()
