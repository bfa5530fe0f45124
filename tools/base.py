"""The base that weeks 8 to 20 start from: corpus, tokenizer and shards of checkpoints/docs-6m, its training, its card.

usage: python tools/base.py data|train|card [--work runs/base]     (`make base` does all three)

data   what the model may read: the documentation of Python's own modules and the docstrings of four packages, without any
       document of the validation or test modules, and without what shares 13 words in a row with a test document
train  `minillm pretrain docs-6m`; the same command goes on where it was stopped
card   checkpoints/docs-6m: weights in bf16, tokenizer, manifest, log, README.md
"""
import argparse, hashlib, json, platform, shutil, subprocess, sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from minillm.corpus import build_corpus
from minillm.dedup import mark_contaminated
from minillm.pydocs import Document, documents, fingerprint, page
from minillm.refine import CorpusConfig
from minillm.shards import ShardsRun, run_shards
from minillm.tokenizer import TokenizerRun, run_tokenizer

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "checkpoints/docs-6m"
PACKAGES = ("torch", "sympy", "networkx", "numpy")
VOCAB_SIZE = 4096
TRAIN = ("--preset", "docs-6m", "--precision", "bf16", "--micro-batch-size", "8", "--seed", "1337")


class Page(NamedTuple):
    text: str


def readable() -> list[Document]:
    "Everything the base could be trained on, whatever its split."
    return list(documents("extended", PACKAGES))


def choose(docs: list[Document]) -> tuple[list[Document], dict]:
    "Training documents without those that quote a test document, and how many were left out for which reason."
    train, test = ([d for d in docs if d.split == split] for split in ("train", "test"))
    guarded = [text for d in test for text in (d.text, page(d))]
    marked = mark_contaminated([Page(page(d)) for d in train], guarded)
    kept = [d for d, (_, why) in zip(train, marked) if why is None]
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
    left = {(row["url"], row["text"]) for path in both.glob("train-*.parquet") for row in pq.read_table(path, columns=["url", "text"]).to_pylist()}
    ids = sorted({d.id for d in kept if (d.url, page(d).rstrip()) in left})
    report = json.loads((work / "corpus-train/report.json").read_text(encoding="utf-8"))
    run_tokenizer(TokenizerRun(both, work / "tokenizer", vocab_size=VOCAB_SIZE))
    run_shards(ShardsRun(both, work / "tokenizer", work / "tokens"))
    meta = json.loads((work / "tokens/meta.json").read_text(encoding="utf-8"))
    (work / "manifest.json").write_text(json.dumps(dict(
        python=platform.python_version(), packages={name: version(name) for name in PACKAGES}, readable=fingerprint(docs),
        left_out=counts | {name: cell["documents"] for name, cell in report["steps"].items()}, documents=len(ids),
        tokens=meta["tokens"], bytes=meta["bytes"], sha256=meta["sha256"], ids="".join(ids)), indent=1) + "\n", encoding="utf-8")
    print((work / "manifest.json").read_text()[:1500])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["data"])
    parser.add_argument("--work", type=Path, default=Path("runs/base"))
    args = parser.parse_args()
    data(args.work)
    return 0


if __name__ == "__main__": sys.exit(main())
