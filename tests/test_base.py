"The base of weeks 8 to 20: what it read, what it is, and that nothing held out is in it."
import json
import math
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

from minillm.shards import file_sha256
from minillm.dedup import mark_contaminated
from minillm.interop import from_pretrained
from minillm.minigpt import PRESETS, GPTConfig, MiniGPT
from minillm.pydocs import documents, page
from minillm.tokenizer import apply_chat_template, load_tokenizer

BASE = Path(__file__).resolve().parent.parent / "checkpoints/docs-6m"
pytestmark = pytest.mark.skipif(not (BASE / "manifest.json").exists(), reason="checkpoints/docs-6m is not here: make base trains it")


@pytest.fixture(scope="module")
def manifest():
    return json.loads((BASE / "manifest.json").read_text(encoding="utf-8"))


def ids_of(manifest):
    ids = manifest["data"]["ids"]
    return {ids[i:i + 12] for i in range(0, len(ids), 12)}


def test_files_are_the_ones_of_the_manifest(manifest):
    "The weights are those that were measured, in bf16, and the whole folder takes at most 16 MB."
    assert file_sha256(BASE / "model.safetensors") == manifest["sha256"]["model.safetensors"]
    assert sum(f.stat().st_size for f in BASE.rglob("*") if f.is_file()) <= 16_000_000
    assert {p.dtype for p in from_pretrained(BASE).parameters()} == {torch.bfloat16}


def test_shape_is_the_preset():
    "The preset docs-6m, as many parameters as its card says, in rows that K-quants can take."
    model = from_pretrained(BASE)
    assert model.config.as_dict() == GPTConfig(**PRESETS["docs-6m"]).as_dict() if hasattr(model.config, "as_dict") else model.config == GPTConfig(**PRESETS["docs-6m"])
    assert all(p.shape[-1] % 256 == 0 for p in model.parameters() if p.dim() == 2) and isinstance(model, MiniGPT)


def test_tokenizer_can_chat():
    "The chat tokens are in the tokenizer from the start, and fit the model's vocabulary."
    tokenizer = load_tokenizer(BASE)
    ids, mask = apply_chat_template(tokenizer, [dict(role="user", content="hi"), dict(role="assistant", content="yes")])
    assert max(ids) < len(tokenizer) <= from_pretrained(BASE).config.vocab_size and 0 < sum(mask) < len(mask)


def test_opens_in_transformers():
    "transformers opens folder and tokenizer, and computes the same logits."
    transformers = pytest.importorskip("transformers")
    theirs, tokenizer = transformers.AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), transformers.AutoTokenizer.from_pretrained(BASE)
    idx = tokenizer("Return the absolute value of the argument.", return_tensors="pt").input_ids
    assert idx[0].tolist() == load_tokenizer(BASE).encode("Return the absolute value of the argument.")
    with torch.no_grad(): difference = (from_pretrained(BASE, "float32")(idx) - theirs(idx).logits).abs().max().item()
    print(f"largest difference {difference:.1e}")
    assert difference < 1e-4


def test_nothing_held_out_was_read(manifest):
    "No document of a validation or test module of this Python is among the ids, and no one that quotes a test document."
    docs = list(documents())
    read = ids_of(manifest)
    assert not read & {d.id for d in docs if d.split != "train"}
    known = [d for d in docs if d.id in read]
    assert len(known) > 5_000, "another Python's documentation: hardly any document is known"
    marked = mark_contaminated(known, [d.text for d in docs if d.split == "test"])
    assert not [d.id for d, why in marked if why]


@pytest.mark.slow
def test_the_whole_corpus_is_recomputed(manifest):
    "From the same packages, the same documents: every one of the ids, none that quotes a test document, all others accounted for."
    import sys
    sys.path.insert(0, str(BASE.parent.parent / "tools"))
    import platform

    import base
    data = manifest["data"]
    try: here = {name: version(name) for name in data["packages"]}
    except PackageNotFoundError as e: pytest.skip(f"{e.name} is not installed")
    if (platform.python_version(), here) != (data["python"], data["packages"]): pytest.skip(f"made with Python {data['python']} and {data['packages']}")
    kept, counts = base.choose(base.readable())
    read, left_out = ids_of(manifest), data["left_out"]
    assert counts.items() <= left_out.items() and read <= {d.id for d in kept}
    ids = {d.id for d in kept}  # a definition that a file repeats word for word has one id
    assert len(ids) >= len(read) >= len(ids) - left_out["exact copy"] - left_out["near copy"]


@pytest.mark.slow
def test_held_out_figure_is_measured_again(manifest):
    "The card's bits per byte, from the weights and this Python's validation modules: within 3 % whatever the Python."
    import sys
    sys.path.insert(0, str(BASE.parent.parent / "tools"))
    import base
    texts = [page(d).rstrip() for d in documents() if d.split == "val"]
    bits, (low, high) = base.held_out(BASE, texts)
    print(f"{bits:.3f} bits per byte, the card says {manifest['held_out']['bits_per_byte']:.3f}")
    assert low < bits < high and math.isclose(bits, manifest["held_out"]["bits_per_byte"], rel_tol=0.03)
    assert bits < 0.8*manifest["baselines"]["byte 5-gram"]
    assert os.path.getsize(BASE / "README.md") > 1000
