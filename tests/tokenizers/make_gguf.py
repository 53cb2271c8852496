#!/usr/bin/env python3
"""make_gguf.py OUT [--lines N] [--seed S]: small GGUF files that hold only a tokenizer of model llama, and what llama.cpp makes
of random texts with them: OUT/NAME/tokenizer.gguf, OUT/NAME/encodings.jsonl.
make_gguf.py --check FILE.gguf LINES.jsonl: llama.cpp's ids of each line's text must be the line's ids.

The folder beside this file: make_gguf.py . --lines 40"""
import argparse
import json
import os
import random
import sys

import gguf
import llama_cpp

BLANK = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SYLLABLES = ["ka", "lo", "mi", "the", "ing", "st", "\u00e9", "\u00fc", "\u0440\u0435", "\u4f60", "\u597d", "er", "on", "!", ",", "1", "23", "aa", "abab", "aba"]


def ids_of(model, text, bos=False):
    return model.tokenize(text.encode(), add_bos=bos, special=True)


def open_vocab(path):
    return llama_cpp.Llama(path, vocab_only=True, verbose=False)


def random_text(rng):
    out = []
    for _ in range(rng.randint(1, 14)):
        kind = rng.randrange(10)
        if kind < 5:
            out.append("".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4))))
        elif kind < 7:
            out.append(rng.choice([" ", " ", "  ", "   ", "\n", "\t", "\u00a0", BLANK, "\u3000"]))
        elif kind == 7:
            out.append(rng.choice(["<s>", "</s>", "<user>", "<user><s>", "<0x41>", "\U0001f600", "e\u0301", "\u0e33", "x", "<"]))
        else:
            out.append(rng.choice("ab") * rng.randint(1, 30) if rng.random() < 0.5 else "ab" * rng.randint(1, 9))
    return "".join(out)


def make(folder, rng, lines, prefix, eos):
    """Tokens by random joins, so that one token is reached in several ways; distinct scores in random order."""
    os.makedirs(folder, exist_ok=True)
    characters = sorted({c for s in SYLLABLES for c in s} | {BLANK, "a", "b"})
    pieces, joined = list(characters), set(characters)
    frequent = [BLANK + "the", BLANK * 2, BLANK * 4, "aa", "aaa", "aaaa", "ab", "ba", "aba", "abab", "ing", "ka", "er"]
    for t in frequent + [rng.choice(pieces) + rng.choice(pieces) for _ in range(60)]:
        if t not in joined:
            joined.add(t)
            pieces.append(t)
    for _ in range(120):
        t = rng.choice(pieces) + rng.choice(pieces)
        if t not in joined and len(t) < 10:
            joined.add(t)
            pieces.append(t)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + pieces + ["<user>", "[PAD]"]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(pieces) + [USER, UNUSED]
    order = list(range(len(pieces)))
    rng.shuffle(order)
    scores = [0.0] * 259 + [-float(i) for i in order] + [0.0, -1000.0]
    path = os.path.join(folder, "tokenizer.gguf")
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(128), w.add_embedding_length(8), w.add_block_count(1), w.add_feed_forward_length(8), w.add_head_count(1)
    w.add_layer_norm_rms_eps(1e-5), w.add_rope_dimension_count(8)
    w.add_tokenizer_model("llama"), w.add_tokenizer_pre("default"), w.add_token_list(tokens), w.add_token_scores(scores), w.add_token_types(types)
    w.add_bos_token_id(1), w.add_eos_token_id(2), w.add_unk_token_id(0), w.add_add_bos_token(True)
    if not prefix:
        w.add_add_space_prefix(False)
    if eos:
        w.add_add_eos_token(True)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.close()
    model = open_vocab(path)
    with open(os.path.join(folder, "encodings.jsonl"), "w", encoding="utf-8") as f:
        for _ in range(lines):
            text = random_text(rng)
            line = {"text": text, "ids": ids_of(model, text), "ids_with_special": ids_of(model, text, True)}
            f.write(json.dumps(line) + "\n")


ap = argparse.ArgumentParser()
ap.add_argument("out", nargs="?")
ap.add_argument("--lines", type=int, default=1000)
ap.add_argument("--seed", type=int, default=0)
ap.add_argument("--check", nargs=2)
args = ap.parse_args()
if args.check:
    model = open_vocab(args.check[0])
    count = 0
    for line in open(args.check[1], encoding="utf-8"):
        line = json.loads(line)
        got = ids_of(model, line["text"])
        if got != line["ids"]:
            sys.exit(f"{line['text']!r}: llama.cpp gives {got}, the line has {line['ids']}")
        count += 1
    print(f"  {count} texts equal")
else:
    for name, prefix, eos in (("gguf-llama", True, False), ("gguf-llama-noprefix", False, False), ("gguf-llama-eos", True, True)):
        make(os.path.join(args.out, name), random.Random(f"{args.seed} {name}"), args.lines, prefix, eos)
