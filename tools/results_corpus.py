"The experiments of notebook 02f: `web_code` and `corpus_memory`, run by results.py; minutes each, the second one 3 GB of disk."
import json, os, random, subprocess, sys, sysconfig, tempfile, time
from pathlib import Path

CORPUS = [*(f"minillm/refine.py:{name}" for name in ("RECIPES", "clean_document", "clean_batch", "batches", "take_turns", "sketch", "write_batch", "ordered_map", "jobs")),
          *(f"minillm/corpus.py:{name}" for name in ("Rows", "disk_similarity", "near_pairs", "compare", "ShardWriter", "write_shards", "gather", "build_corpus"))]


def tree_bytes(pid: int) -> int:
    "Resident bytes of a process and all below it; what they share counts several times."
    total, todo = 0, [pid]
    while todo:
        p = todo.pop()
        try:
            total += int(Path(f"/proc/{p}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in os.listdir(f"/proc/{p}/task"): todo += map(int, Path(f"/proc/{p}/task/{task}/children").read_text().split())
        except OSError: pass
    return total


def measured(sources: list[str], out: Path, **settings) -> dict:
    "build_corpus on two workers in a process of its own: its report's totals, seconds, and the peak memory of all processes."
    program = ("import json, sys\nfrom minillm.corpus import build_corpus\nfrom minillm.refine import CorpusConfig\n"
               "if __name__ == '__main__': build_corpus(CorpusConfig(**json.loads(sys.argv[1])))\n")
    script = out.with_suffix(".py")
    script.write_text(program, encoding="utf-8")
    child = subprocess.Popen([sys.executable, script, json.dumps(dict(sources=sources, out=str(out), workers=2) | settings)])
    peak = 0
    while child.poll() is None:
        peak = max(peak, tree_bytes(child.pid))
        time.sleep(0.2)
    if child.returncode: raise SystemExit(f"build_corpus ended with {child.returncode}")
    report, timing = (json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for name in ("report", "timing"))
    kept = list(report["kept"].values())
    return dict(tokens=sum(c["tokens"] for c in kept), documents=sum(c["documents"] for c in kept), bytes=sum(c["bytes"] for c in kept),
                left_out={step: cell["documents"] for step, cell in report["steps"].items()}, sources=report["counts"]["sources"], peak_bytes=peak, **timing)


def web_code() -> tuple[str, int, dict]:
    "Recipe web-code on the embedded documentation and all installed sources, to 20 million tokens, and the forecast for 100."
    import numpy as np
    sources = ["docs", f"code:{sysconfig.get_path('purelib')}", f"code:{sysconfig.get_path('stdlib')}"]
    with tempfile.TemporaryDirectory() as folder:
        runs = [measured(sources, Path(folder) / str(n), recipe="web-code", target_tokens=n) for n in (2_500_000, 5_000_000, 10_000_000, 20_000_000)]
    tokens = [run["tokens"] for run in runs]
    slope, start = np.polyfit(tokens, [run["cpu_s"] for run in runs], 1).tolist()
    wall_slope, wall_start = np.polyfit(tokens, [run["wall_s"] for run in runs], 1).tolist()
    predicted = dict(tokens=100_000_000, cpu_s=round(start + slope * 1e8, 1), wall_s=round(wall_start + wall_slope * 1e8, 1))
    return ("minillm corpus docs code:SITE-PACKAGES code:STDLIB --recipe web-code --target-tokens 20000000 --workers 2 --out FOLDER", 0, dict(
        runs=runs, fit=dict(start_s=start, s_per_token=slope), predicted=predicted, tokens_per_cpu_s=round(1 / slope),
        training_cpu_seconds=sum(run["cpu_s"] for run in runs)))


def generate(folder: Path, size: int, seed: int = 0) -> int:
    "JSON lines of documents of 1 to 500 kB, put together from pieces of the installed sources."
    rng, pieces, held, written = random.Random(seed), [], 0, 0
    for path in sorted(p for key in ("stdlib", "purelib") for p in Path(sysconfig.get_path(key)).rglob("*.py") if 2000 < p.stat().st_size < 300_000):
        text = path.read_text(encoding="utf-8", errors="replace")
        pieces += [text[at:at + 1000] for at in range(0, len(text) - 500, 1000)]
        if (held := held + len(text)) > 250_000_000: break
    folder.mkdir()
    while written < size:
        with open(folder / f"{written:012}.jsonl", "w", encoding="utf-8") as file:
            end = min(size, written + 100_000_000)
            while written < end: written += file.write(json.dumps(dict(text="".join(rng.choices(pieces, k=min(500, int(rng.paretovariate(1.2))))))) + "\n")
    return written


def corpus_memory() -> tuple[str, int, dict]:
    "One gigabyte of input on two workers: the peak of resident memory over all processes."
    with tempfile.TemporaryDirectory() as folder:
        written = generate(Path(folder) / "in", 1_000_000_000)
        run = measured([str(Path(folder) / "in")], Path(folder) / "out", recipe="web-code")
    return ("minillm corpus FOLDER --recipe web-code --workers 2 --out OUT", 0, dict(input_bytes=written, **run, training_cpu_seconds=run["cpu_s"]))
