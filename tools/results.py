"""The experiments that need longer than a notebook may take, into nbs/results; only those whose code changed, or the named ones.

usage: python tools/results.py [--all] [NAME...]
"""
import os, shutil, subprocess, sys, time
from pathlib import Path

import results_bpe, results_corpus, results_extraction
from course import MODEL, RESULTS, ROOT, code_fingerprint, commit, machine, read_json, write_json

SHAKESPEARE = Path(os.environ.get("SHAKESPEARE") or ROOT.parent / "shared" / "data" / "tinyshakespeare" / "input.txt")


def nanogpt_cpu() -> tuple[str, int, dict]:
    "nanoGPT's published CPU run on tiny Shakespeare: command, seed, values."
    from minillm.cli import NanoGPTRun, run_nanogpt
    import contextlib, io
    if not SHAKESPEARE.exists(): raise SystemExit("nanogpt_cpu needs tiny Shakespeare (input.txt of nanoGPT's data/shakespeare_char): set SHAKESPEARE=FILE")
    run, text = NanoGPTRun(SHAKESPEARE), io.StringIO()
    with contextlib.redirect_stdout(text): loss = run_nanogpt(run)
    lines = text.getvalue().splitlines()
    curve = [(int(a[1]), float(a[5])) for a in (line.split() for line in lines) if a[:1] == ["step"] and a[2:3] == ["train"]]
    sample = "\n".join(lines[len(curve):])
    return ("minillm nanogpt --corpus input.txt", run.seed, dict(
        val_loss=loss, steps=run.max_steps, parameters=count("cpu", 65), curve=curve, sample=sample))


def count(preset: str, vocab_size: int) -> int:
    from minillm.nanogpt import PRESETS, NanoGPT, NanoGPTConfig
    return sum(p.numel() for p in NanoGPT(NanoGPTConfig(vocab_size, **PRESETS[preset])).parameters())


def big() -> tuple[str, int, dict]:
    "The preset 6m on the whole embedded documentation, byte by byte: its report becomes nbs/results/6m.html."
    from minillm.tour import TourConfig, run_tour
    folder = ROOT / "runs" / f"6m-{code_fingerprint(TRAINED)[:8]}"  # other code begins anew, a stopped run goes on
    shutil.rmtree(folder / "samples", ignore_errors=True)  # what is cheap is made anew
    (folder / "report.html").unlink(missing_ok=True)
    cfg = TourConfig(out=folder, vocab_size=260, preset="6m", minutes=24, lr=1.5e-3)
    report = run_tour(cfg)
    shutil.copyfile(report, RESULTS / "6m.html")
    samples, history = read_json(cfg.out / "samples/samples.json"), read_json(cfg.out / "base/history.json")
    bits = dict(samples["bits_per_byte"])
    return (f"minillm tour --vocab-size 260 --preset 6m --minutes 24 --lr 0.0015 --out {folder.relative_to(ROOT)}", cfg.seed, dict(
        parameters=samples["parameters"], steps=read_json(cfg.out / "plan.json")["max_steps"], val_loss=samples["val_loss"],
        bits_per_byte=bits.pop("this model"), baselines={k: bits[k] for k in ("byte 3-gram", "byte 5-gram", "xz")},
        known_words=samples["known_words"], habits=samples["habits"], corpus=read_json(cfg.out / "documents/documents.json"), history=history, sample=samples["text"],
        training_cpu_seconds=read_json(cfg.out / "timing.json")["train"]))


TRAINED = [*MODEL, *(f"minillm/{name}" for name in (  # What the weights of 6m depend on
    "nanogpt.py:PRESETS", "nanogpt.py:generate", "pydocs.py:page", "refine.py:clean_document", "corpus.py:compare", "bpe.py:train_bpe",
    "bpe.py:Tokenizer", *(f"tour.py:{f}" for f in ("write_corpus", "write_tokens", "read_tokens", "tokens_per_byte", "make_plan",
                                                   "begin_training", "train_model", "sample_text", "one_core"))))]
EXPERIMENTS = {  # Name: the function, and the code its result depends on
    "nanogpt_cpu": (nanogpt_cpu, [*MODEL, *(f"minillm/{name}" for name in (
        "nanogpt.py:PRESETS", "nanogpt.py:CharVocab", "nanogpt.py:generate", "tour.py:one_core",
        "cli.py:read_corpus", "cli.py:NanoGPTRun", "cli.py:run_nanogpt")), "tools/results.py:nanogpt_cpu"]),
    "6m": (big, [*TRAINED, *(f"minillm/{name}" for name in (
        "nanogpt.py:ngram_bits_per_byte", "nanogpt.py:known_words", "nanogpt.py:habits", "tour.py:baselines", "tour.py:write_samples")),
        "tools/results.py:big"]),
    "extraction": (results_extraction.extraction, results_extraction.CODE),
    "tokenizer": (results_bpe.tokenizer_curve, results_bpe.CODE),
    "web_code": (results_corpus.web_code, [*results_corpus.CORPUS, "tools/results_corpus.py:web_code", "tools/results_corpus.py:measured"]),
    "corpus_memory": (results_corpus.corpus_memory, [*results_corpus.CORPUS, *(f"tools/results_corpus.py:{f}" for f in ("corpus_memory", "generate", "measured"))]),
}


def main() -> int:
    "Run what is stale; the sweep of 01b and the runs of 05c keep their own points and go on from them."
    chosen = [a for a in sys.argv[1:] if not a.startswith("--")]
    for name, (experiment, code) in EXPERIMENTS.items():
        path, now = RESULTS / f"{name}.json", code_fingerprint(code)
        if chosen and name not in chosen: continue
        if not chosen and "--all" not in sys.argv and path.exists() and read_json(path)["fingerprint"] == now:
            print(f"{name}: current (--all repeats it)")
            continue
        print(f"{name}: running", flush=True)
        start = time.process_time()
        command, seed, values = experiment()
        seconds = values.pop("training_cpu_seconds", time.process_time() - start)
        write_json(path, dict(name=name, command=command, seed=seed, commit=commit(), machine=machine(),
                              cpu_seconds=round(seconds, 1), code=code, fingerprint=now, values=values))
    alone = [name for name in ("sweep", "optim") if not chosen or name in chosen]
    return max([subprocess.run([sys.executable, ROOT / "tools" / f"results_{name}.py"]).returncode for name in alone], default=0)


if __name__ == "__main__": sys.exit(main())
