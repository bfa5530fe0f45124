"""The experiments of weeks 4 and 5 that train for minutes: `quality`, `shakespeare_cpu` and `shakespeare`, run by results.py.

One thread, CPU-seconds; each run lies in runs/NAME-FINGERPRINT, where a stopped one goes on.
"""
import math, os, statistics, time
from pathlib import Path

import torch

from course import MODEL, RESULTS, ROOT, code_fingerprint, read_json

LOOP = [*(f"minillm/minigpt.py:{name}" for name in ("GPTConfig", "RMSNorm", "Attention", "MLP", "Gated", "gated", "Block", "MiniGPT", "PRESETS", "sdpa", "blocked", "Turn", "rotate", "rope_tables")),
        "minillm/optim.py", *(f"minillm/shards.py:{name}" for name in ("write_shards", "Batches", "permute")),
        *(f"minillm/train.py:{name}" for name in ("train_step", "train", "_advance", "evaluate", "windows", "settings", "FLAGS", "run_pretrain"))]
SECONDS, PLANNED = 300, 272  # a plan counts steps; the evaluation and the sample at the end come on top


def pretrain(name: str, **flags) -> dict:
    "run_pretrain in a folder of its own: its result, its true CPU seconds, its settings."
    from minillm.train import PretrainRun, run_pretrain
    out = ROOT / "runs" / f"{name}-{code_fingerprint(LOOP)[:8]}"
    start = time.process_time()
    run_pretrain(PretrainRun(out, **flags))
    import json
    lines = [json.loads(line) for line in (out / "training/timing.jsonl").read_text(encoding="utf-8").splitlines()]
    result = read_json(out / "training/result.json")
    return {k: result[k] for k in ("steps", "tokens", "parameters", "val_loss", "bits_per_byte")} | dict(
        history=[{k: h[k] for k in ("step", "train", "val")} for h in result["history"]], cpu_seconds=lines[-1]["cpu_s"], spent=time.process_time() - start)


def week_one(tokens: Path, seed: int) -> dict:
    "The model and the loop of week 1 on the same tokens for the same CPU time: nanogpt's tiny, AdamW, 12 x 64 tokens, as the tour had it."
    from minillm.checkpoints import one_core
    from minillm.metrics import bits_per_byte
    from minillm.nanogpt import PRESETS, NanoGPT, NanoGPTConfig, TrainConfig, evaluate, train
    from minillm.shards import open_shard
    train_ids, val = (torch.from_numpy(open_shard(tokens, split).ids.astype("int32")) for split in ("train", "val"))
    shard = open_shard(tokens, "val")
    def begin(steps):
        torch.manual_seed(seed)
        model = NanoGPT(NanoGPTConfig(shard.vocab_size, **PRESETS["tiny"]))
        return model, train(model, train_ids, val, TrainConfig(steps, lr=3e-3, min_lr=3e-4, seed=seed*1_000_003 % 2**31, eval_every=10**9))
    with one_core():
        _, steps = begin(110)
        for _ in range(20): next(steps)
        start = time.process_time()
        for _ in range(80): next(steps)
        n_steps = round(SECONDS/((time.process_time() - start)/80))
        model, steps = begin(n_steps)
        start = time.process_time()
        for _ in range(n_steps - 1): next(steps)  # the last step evaluates, too
        spent = time.process_time() - start
        nats = evaluate(model, val, model.config.max_seq_len)
    n = (len(val) - 1)//model.config.max_seq_len*model.config.max_seq_len
    return dict(steps=n_steps, parameters=sum(p.numel() for p in model.parameters()), val_loss=nats, cpu_seconds=spent,
                bits_per_byte=bits_per_byte(nats, len(val), shard.n_bytes), evaluated_tokens=n)


def tokens_of_the_docs() -> tuple[Path, dict]:
    "Corpus, tokenizer and shards as the tour makes them, and what counting and compressing reach on the same text."
    from minillm.metrics import baselines
    from minillm.tour import TourConfig, text_bytes, write_corpus, write_tokenizer, write_tokens
    cfg = TourConfig(out=ROOT / "runs" / "docs-1024")
    if not (cfg.out / "tokens/meta.json").exists():
        for stage in (write_corpus, write_tokenizer, write_tokens): stage(cfg)
    return cfg.out / "tokens", baselines(text_bytes(cfg.out, "train"), text_bytes(cfg.out, "val"))


def quality() -> tuple[str, int, dict]:
    "300 CPU-seconds on the embedded corpus, three seeds: MiniGPT and its trainer, and in turns the model and loop of week 1; both evaluate at the end."
    tokens, others = tokens_of_the_docs()
    flags = dict(tokens=tokens, preset="tiny", minutes=PLANNED/60, micro_batch_size=4, eval_every=10**6)
    ours, before = zip(*((pretrain(f"quality-{seed}", seed=seed, **flags), week_one(tokens, seed)) for seed in (0, 1, 2)))
    median = lambda runs: statistics.median(run["bits_per_byte"] for run in runs)
    return (f"minillm pretrain tiny --tokens runs/docs-1024/tokens --minutes {PLANNED/60:.3g} --micro-batch-size 4 --eval-every 1000000 --seed 0|1|2 --out FOLDER", 0, dict(
        ours=ours, week_one=before, baselines=others, bits_per_byte=median(ours), week_one_bits_per_byte=median(before),
        below_5gram=1 - median(ours)/others["byte 5-gram"], below_week_one=1 - median(ours)/median(before),
        training_cpu_seconds=sum(run["cpu_seconds"] for run in ours + before)))


def characters() -> Path:
    "Tiny Shakespeare as nanoGPT cuts it: characters, the last tenth held out."
    from minillm.train import write_characters
    source = Path(os.environ.get("SHAKESPEARE") or ROOT.parent / "shared" / "data" / "tinyshakespeare" / "input.txt")
    if not source.exists(): raise SystemExit("this needs tiny Shakespeare (input.txt of nanoGPT's data/shakespeare_char): set SHAKESPEARE=FILE")
    folder = ROOT / "runs" / "shakespeare"
    if not (folder / "meta.json").exists(): write_characters(source.read_text(encoding="utf-8"), folder)
    return folder


def shakespeare_cpu() -> tuple[str, int, dict]:
    "nanoGPT's published CPU run in its own CPU time, on MiniGPT: configs/shakespeare-cpu.json."
    minutes = read_json(RESULTS / "nanogpt_cpu.json")["cpu_seconds"]/60
    run = pretrain("shakespeare-cpu", tokens=characters(), config=ROOT / "configs/shakespeare-cpu.json", minutes=minutes)
    return (f"minillm pretrain --config configs/shakespeare-cpu.json --tokens runs/shakespeare --minutes {minutes:.3f} --out FOLDER", 1337,
            run | dict(minutes=minutes, training_cpu_seconds=run["cpu_seconds"]))


def shakespeare() -> tuple[str, int, dict]:
    "The 10M characters model of the roadmap, as far as an hour of one core gets: the shape of configs/shakespeare.json, smaller steps, Muon, bf16."
    from minillm.interop import from_pretrained
    from minillm.shards import open_shard
    from minillm.train import evaluate, windows
    minutes = 60.0
    run = pretrain("shakespeare-hour", tokens=characters(), config=ROOT / "configs/shakespeare-hour.json", minutes=minutes)
    model = from_pretrained(ROOT / "runs" / f"shakespeare-hour-{code_fingerprint(LOOP)[:8]}", "float32")
    train_loss = evaluate(model, windows(open_shard(characters()).ids, model.config.max_seq_len, 32, 256))
    return (f"minillm pretrain --config configs/shakespeare-hour.json --tokens runs/shakespeare --minutes {minutes:g} --out FOLDER", 1337,
            run | dict(minutes=minutes, train_loss=train_loss, train_perplexity=math.exp(train_loss), training_cpu_seconds=run["cpu_seconds"]))


EXPERIMENTS = {name.__name__: (name, [*LOOP, *(MODEL if name is quality else []), *(f"tools/results_pretrain.py:{f}" for f in ("pretrain", *parts))])
               for name, parts in ((quality, ("SECONDS", "PLANNED", "quality", "week_one", "tokens_of_the_docs")), (shakespeare_cpu, ("shakespeare_cpu", "characters")),
                                   (shakespeare, ("shakespeare", "characters")))}
