"""The ablation of notebook 04a: from week 1's decoder to MiniGPT, one change at a time, each at equal CPU-seconds.

usage: python tools/results_ablation.py [--attention NAME,NAME...] [--seconds S] [--seeds N] [--out FILE.json]
Without --attention the architectures are compared, with it MiniGPT under those keys of `minigpt.ATTENTION`. One thread.
Every variant's step is timed in turns with the others', on this machine, before any is trained; steps = seconds/step.
`make results` runs both kinds at full length.
"""
import argparse, math, statistics, tempfile, time
from collections.abc import Callable
from pathlib import Path

import torch

from course import MODEL, machine, write_json
from minillm.bpe import SPECIAL_TOKENS
from minillm.corpus import CorpusConfig, build_corpus
from minillm.minigpt import ATTENTION, PRESETS, GPTConfig, MiniGPT, ladder
from minillm.nanogpt import NanoGPT, NanoGPTConfig, TrainConfig, train
from minillm.tokenizer import TokenizerRun, corpus_files, corpus_texts, load_tokenizer, run_tokenizer

SECONDS, SEEDS, BATCH, LR, WINDOW = 50.0, 3, 4, 3e-3, 32  # CPU-seconds of training a run, seeds, sequences a step, top rate, tokens
CODE = [*MODEL, *(f"minillm/minigpt.py:{name}" for name in (
    "GPTConfig", "causal_mask", "blocked", "sdpa", "sliding_window", "rope_frequencies", "rope_tables", "Turn", "rotate", "RMSNorm", "Attention", "MLP", "Gated", "gated",
    "Block", "MiniGPT", "PRESETS", "undo", "ladder")), *(f"minillm/{name}" for name in (
    "pydocs.py:page", "refine.py:clean_document", "corpus.py:compare", "bpe.py:train_bpe", "bpe.py:Tokenizer")),
    *(f"tools/results_ablation.py:{name}" for name in (
        "SECONDS", "corpus", "architectures", "attentions", "seconds_a_step", "run", "compare", "measured"))]


def corpus(folder: Path) -> dict:  # split: (ids (N,), bytes)
    "The tour's corpus and tokenizer of 1,024 tokens."
    build_corpus(CorpusConfig(("docs",), folder/"corpus", val_share=0.1, piece_bytes=2048))
    run_tokenizer(TokenizerRun(folder/"corpus", folder/"tokenizer", vocab_size=1024))
    tokenizer, found = load_tokenizer(folder/"tokenizer"), {}
    end = tokenizer.special_tokens[SPECIAL_TOKENS[0]]
    for split in ("train", "val"):
        texts = list(corpus_texts(corpus_files(folder/"corpus", split)))
        ids = torch.tensor([i for text in texts for i in (*tokenizer.encode(text), end)])
        found[split] = ids, sum(len(text.encode()) + 1 for text in texts)  # the end of a document counts as a byte
    return found


def architectures(seed: int) -> dict:
    "Week 1's own class, then the ladder from its decoder to ours."
    c = GPTConfig(**PRESETS["tiny"])
    torch.manual_seed(seed)
    return {"NanoGPT": NanoGPT(NanoGPTConfig(c.vocab_size, c.max_seq_len, c.n_layer, c.n_head, c.n_embd)), **ladder(c, seed)}


def attentions(names: list[str]) -> Callable[[int], dict]:
    "MiniGPT under each name."
    def build(seed):
        models = {}
        for name in names:
            torch.manual_seed(seed)
            models[name] = MiniGPT(GPTConfig(**PRESETS["tiny"], attention=name, window=WINDOW))
        return models
    return build


def seconds_a_step(models: dict, ids: torch.Tensor, rounds: int = 40) -> dict:
    "Median CPU-seconds of a training step of each, taken in turns so that all meet the same neighbours."
    loops = {name: train(model, ids, ids, TrainConfig(10**6, BATCH, eval_every=10**6)) for name, model in models.items()}
    seconds = {name: [] for name in models}
    for _ in range(rounds):
        for name, loop in loops.items():
            start = time.process_time()
            next(loop)
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(s[5:]) for name, s in seconds.items()}


def run(model, data: dict, steps: int, seed: int) -> dict:
    "One model trained for so many steps with its own cosine; the whole validation text at the end."
    (ids, _), (val, val_bytes) = data["train"], data["val"]
    bits = (len(val) - 1)/val_bytes/math.log(2)  # a byte, for a nat a token
    cfg = TrainConfig(steps, BATCH, LR, LR/10, max(1, steps//20), eval_every=max(1, steps//4), seed=10**6*seed)
    cpu_s, curve, loop = 0.0, [], train(model, ids, val, cfg)
    for step in range(1, steps + 1):
        start = time.process_time()
        _, loss = next(loop)
        if "val" in loss: curve.append((step, round(bits*loss["val"], 4)))  # its seconds hold an evaluation: not counted
        else: cpu_s += time.process_time() - start
    return dict(cpu_s=round(cpu_s, 1), curve=curve, bits_per_byte=round(bits*loss["val"], 4), val=round(loss["val"], 4))


def compare(build: Callable[[int], dict], seconds: float, seeds: int) -> dict:
    "Every model that build(seed) makes, trained for equal CPU-seconds."
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    with tempfile.TemporaryDirectory() as folder: data = corpus(Path(folder))
    each, rows = seconds_a_step(build(0), data["train"][0]), []
    for seed in range(seeds):
        for name, model in build(seed).items():
            steps = max(20, round(seconds/each[name]))
            rows.append(dict(variant=name, seed=seed, parameters=sum(p.numel() for p in model.parameters()), steps=steps,
                             ms_a_step=round(1e3*each[name], 2), **run(model, data, steps, seed)))
            print({k: v for k, v in rows[-1].items() if k != "curve"}, flush=True)
    seq_len = PRESETS["tiny"]["max_seq_len"]
    return dict(seconds=seconds, threads=1, matmul_precision="medium", micro_batch_size=BATCH, seq_len=seq_len, lr=LR, rows=rows,
                tokens={s: len(ids) for s, (ids, _) in data.items()}, bytes={s: n for s, (_, n) in data.items()})


def measured(attention: str | None = None, seconds: float = SECONDS, seeds: int = SEEDS) -> tuple[str, list[int], dict]:
    "Command, seeds, values."
    build = attentions(attention.split(",")) if attention else architectures
    values = compare(build, seconds, seeds) | (dict(window=WINDOW) if attention else {})
    flags = [("attention", attention, None), ("seconds", f"{seconds:g}", f"{SECONDS:g}"), ("seeds", seeds, SEEDS)]
    command = " ".join(["python tools/results_ablation.py", *(f"--{name} {value}" for name, value, default in flags if value != default)])
    return command, list(range(seeds)), values


def attention() -> tuple[str, list[int], dict]: return measured("sdpa,sliding_window")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attention", help=f"some of {','.join(ATTENTION)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU-seconds of training each run")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each variant")
    parser.add_argument("--out", type=Path, help="JSON file; without it the rows are only printed")
    args = parser.parse_args()
    if unknown := set((args.attention or "sdpa").split(",")) - set(ATTENTION):
        parser.error(f"attention ({unknown.pop()!r}) does not exist; try some of {', '.join(ATTENTION)}")
    command, seed, values = measured(args.attention, args.seconds, args.seeds)
    if args.out: write_json(args.out, dict(command=command, seed=seed, machine=machine(), values=values))


if __name__ == "__main__": main()
