"""The base that weeks 8 to 20 start from: corpus, tokenizer and shards of checkpoints/docs-6m, its training, its card.

usage: python tools/base.py [data|train|card] [--work runs/base]     (`make base` does all three)

data   what the model may read: the documentation of Python's own modules and the docstrings of four packages, without any
       document of the validation or test modules, and without texts that share 13 words in a row with a test document's text
train  `minillm pretrain docs-6m`; the same command goes on where it was stopped
card   checkpoints/docs-6m: weights in bf16, tokenizer, manifest, log, README.md
"""
import argparse, json, math, platform, shutil, string, sys
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import torch

from course import RESULTS, machine
from minillm.checkpoints import read_json
from minillm.shards import file_sha256
from minillm.corpus import build_corpus
from minillm.dedup import mark_contaminated
from minillm.interop import from_pretrained, save_pretrained
from minillm.metrics import baselines, bootstrap, nll
from minillm.nanogpt import write_atomic
from minillm.pydocs import Document, documents, fingerprint, page
from minillm.refine import CorpusConfig
from minillm.shards import ShardsRun, run_shards
from minillm.tokenizer import TokenizerRun, corpus_files, corpus_texts, load_tokenizer, run_tokenizer
from minillm.train import PretrainRun, run_pretrain

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "checkpoints/docs-6m"
PACKAGES = ("torch", "sympy", "networkx", "numpy")
VOCAB_SIZE = 4096
CONFIG = ROOT / "configs/docs-6m.json"


def readable() -> list[Document]:
    "Everything the base could be trained on, whatever its split."
    return list(documents("extended", PACKAGES))


def choose(docs: list[Document]) -> tuple[list[Document], dict]:
    "Training documents without those that quote a test document, and how many were left out for which reason."
    train, test = ([d for d in docs if d.split == split] for split in ("train", "test"))
    marked = mark_contaminated(train, [d.text for d in test])
    kept = [d for d, why in marked if why is None]
    return kept, dict(train=len(train), quotes_a_test_document=len(train) - len(kept),
                      **{f"{split}_modules": sum(d.split == split for d in docs) for split in ("val", "test")})


def write_jsonl(path: Path, docs: list[Document]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(dict(text=page(d).rstrip(), url=d.url, title=d.meta["qualname"])) + "\n" for d in docs), encoding="utf-8")


def data(work: Path) -> None:
    "work/{corpus,tokenizer,tokens} and work/manifest.json."
    docs = readable()
    kept, counts = choose(docs)
    corpora = {"train": kept, "val": [d for d in docs if d.split == "val"]}
    for split, chosen in corpora.items():
        write_jsonl(work / f"{split}.jsonl", chosen)
        build_corpus(CorpusConfig((str(work / f"{split}.jsonl"),), work / f"corpus-{split}", val_share=0))
    both = work / "corpus"
    both.mkdir(exist_ok=True)
    for split in corpora:
        for shard in (work / f"corpus-{split}").glob("train-*.parquet"): shutil.copyfile(shard, both / shard.name.replace("train", split))
    urls = [row["url"] for path in both.glob("train-*.parquet") for row in pq.read_table(path, columns=["url"]).to_pylist()]
    found = set(urls)
    ids = sorted({d.id for d in kept if d.url in found})  # and some of their copies, which have the same address
    report = json.loads((work / "corpus-train/report.json").read_text(encoding="utf-8"))
    run_tokenizer(TokenizerRun(both, work / "tokenizer", vocab_size=VOCAB_SIZE))
    run_shards(ShardsRun(both, work / "tokenizer", work / "tokens"))
    meta = json.loads((work / "tokens/meta.json").read_text(encoding="utf-8"))
    (work / "manifest.json").write_text(json.dumps(dict(
        python=platform.python_version(), packages={name: version(name) for name in PACKAGES}, readable=fingerprint(docs),
        left_out=counts | {name: cell["documents"] for name, cell in report["steps"].items()}, documents=len(urls),
        tokens=meta["tokens"], bytes=meta["bytes"], sha256=meta["sha256"], ids="".join(ids)), indent=1) + "\n", encoding="utf-8")


def train(work: Path) -> None:
    "work/docs-6m; goes on where it was stopped."
    run_pretrain(PretrainRun(work / "docs-6m", work / "tokens", config=CONFIG))


def held_out(folder: Path, texts: list[str]) -> tuple[float, tuple[float, float]]:
    "Bits per byte over all documents, each asked from its first token on, and a 95 % interval over documents."
    model, tokenizer = from_pretrained(folder, "float32"), load_tokenizer(folder)
    end, T = tokenizer.special_tokens["<|endoftext|>"], model.config.max_seq_len
    nats = [nll(model, torch.tensor(tokenizer.encode(text) + [end]), T, T//2, prefix=end).double().sum().item() for text in texts]
    n_bytes = [len(text.encode()) + 1 for text in texts]
    return sum(nats)/sum(n_bytes)/math.log(2), bootstrap(nats, n_bytes)


def card(work: Path) -> None:
    "checkpoints/docs-6m: what a reader, a notebook and a test need, and nothing else."
    out, training = work / "docs-6m", work / "docs-6m/training"
    shutil.rmtree(BASE, ignore_errors=True)
    save_pretrained(from_pretrained(out, "float32"), BASE, load_tokenizer(out), dtype="bfloat16")
    manifest, result = read_json(work / "manifest.json"), read_json(training / "result.json")
    cpu_s = json.loads((training / "timing.jsonl").read_text(encoding="utf-8").splitlines()[-1])["cpu_s"]
    texts = list(corpus_texts(corpus_files(work / "corpus", "val")))
    bits, (low, high) = held_out(BASE, texts)
    scores = baselines(b"".join(t.encode() + b"\0" for t in corpus_texts(corpus_files(work / "corpus", "train"))), b"".join(t.encode() + b"\0" for t in texts))
    quality = RESULTS / "quality.json"
    tour = read_json(quality)["values"] if quality.exists() else {}
    shown = dict(command="minillm pretrain --config configs/docs-6m.json --tokens runs/base/tokens --out runs/base/docs-6m",
                 seed=read_json(CONFIG)["seed"], machine=machine(), training_cpu_seconds=cpu_s, steps=result["steps"], tokens=result["tokens"], parameters=result["parameters"],
                 held_out=dict(bits_per_byte=bits, interval=[low, high], documents=len(texts), bytes=sum(len(t.encode()) + 1 for t in texts)),
                 baselines=scores, trainer_bits_per_byte=result["bits_per_byte"], tour_bits_per_byte=tour.get("bits_per_byte"), sha256={"model.safetensors": file_sha256(BASE / "model.safetensors")}, data=manifest)
    write_atomic(BASE / "manifest.json", shown)
    kept = [line for line in (training / "log.jsonl").read_text(encoding="utf-8").splitlines() if "val_loss" in line]
    (BASE / "log.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    template = string.Template((ROOT / "tools/base_card.md").read_text(encoding="utf-8"))
    (BASE / "README.md").write_text(template.substitute(
        parameters=f"{result['parameters']:,}", documents=f"{manifest['documents']:,}", python=manifest["python"], packages=", ".join(f"{k} {v}" for k, v in manifest["packages"].items()),
        quoting=manifest["left_out"]["quotes_a_test_document"], copies=manifest["left_out"]["exact copy"] + manifest["left_out"]["near copy"], tokens=f"{manifest['tokens']['train']:,}",
        seen=f"{result['tokens']:,}", epochs=f"{result['tokens']/manifest['tokens']['train']:.1f}", steps=f"{result['steps']:,}", cpu_minutes=f"{cpu_s/60:.0f}", cpu=machine()["cpu"], command=shown["command"],
        seed=read_json(CONFIG)["seed"], bits=f"{bits:.3f}", low=f"{low:.3f}", high=f"{high:.3f}", held_out=len(texts), trainer=f"{result['bits_per_byte']:.3f}", sha256=shown["sha256"]["model.safetensors"],
        scores="\n".join(f"| {name} | {value:.3f} |" for name, value in sorted(scores.items(), key=lambda kv: kv[1])),
        tour=f"{tour['bits_per_byte']:.3f}" if tour else "not measured yet"), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["data", "train", "card", "all"], default="all")
    parser.add_argument("--work", type=Path, default=Path("runs/base"))
    args = parser.parse_args()
    for name, part in (("data", data), ("train", train), ("card", card)):
        if args.part in (name, "all"): part(args.work)
    return 0


if __name__ == "__main__": sys.exit(main())
