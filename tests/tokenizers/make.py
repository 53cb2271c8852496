#!/usr/bin/env python3
"""make.py OUT [--lines N] [--seed S] [--only NAME ...]: small tokenizers of many kinds and what the tokenizers library makes of
random texts with them, in the form of the tokenizer fixtures: OUT/NAME/tokenizer.json, OUT/NAME/encodings.jsonl.

The folders beside this file: make.py . --lines 32 --only llama-legacy metaspace-first gemma some-bytes unk-each bytes-roberta
nfkc-lower"""
import argparse
import copy
import json
import os
import random
import unicodedata

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ap = argparse.ArgumentParser()
ap.add_argument("out")
ap.add_argument("--lines", type=int, default=2000)
ap.add_argument("--seed", type=int, default=0)
ap.add_argument("--only", nargs="*")
args = ap.parse_args()

BLANK = "\u2581"
BYTES = [f"<0x{b:02X}>" for b in range(256)]
SYLLABLES = ["ka", "lo", "mi", "the", "ing", "st", "\u00e9", "\u00fc", "\u0440\u0435", "\u043a\u043e", "\u4f60", "\u597d", "\u304b\u306a", "er", "on", "!", ",", "1", "23", "\u00e0"]
OLD = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Co", "Cs")]
ADDED = [  # content, special, lstrip, rstrip, single_word, normalized
    ("<s>", True, False, False, False, False),
    ("</s>", True, False, False, False, False),
    ("<mask>", True, True, False, False, False),
    ("<r>", False, False, True, False, False),
    ("<one>", False, False, False, True, False),
    ("<N orm>", False, False, False, False, True),
    ("<\u00e9>", False, False, False, False, True),
    ("[\u4f60\u597d]", True, False, False, False, False),
    ("[\u4f60", False, False, False, False, False),
]


def word(rng):
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4)))


def prose(rng, n):
    return " ".join(word(rng) for _ in range(n))


def text(rng):
    """Words, odd white space, marks, any character, added tokens side by side, and the texts of byte tokens."""
    out = []
    for _ in range(rng.randint(0, 14)):
        kind = rng.randrange(14)
        if kind < 5:
            out.append(word(rng))
        elif kind < 8:
            out.append(rng.choice([" ", " ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u200b", BLANK, BLANK * 2, " " + BLANK, "\x00", "\x85"]))
        elif kind == 8:
            out.append("".join(rng.choice(OLD) for _ in range(rng.randint(1, 4))))
        elif kind == 9:
            out.append(rng.choice(["e\u0301", "e\u0316\u0301", "\u0301", "\ufb01", "\u01c4", "\u0130", "\u03a3", "\u212b", "\uac00", "\u1100\u1161", "\u00bd", "\u2460", "\ufdfa"]))
        elif kind == 10:
            out.append(rng.choice(["\U0001f600", "\U0001f468\u200d\U0001f469", "\U0001d6fc", "\u4e2d\u6587", "\u05d0", "\u0e33"]))
        elif kind < 13:
            out.append("".join(rng.choice(ADDED)[0] for _ in range(rng.randint(1, 3))))
        else:
            out.append(rng.choice(["<0x41>", "<0xE9>", "<unk>", "<0x", "a" * rng.randint(1, 40), "ka" * rng.randint(1, 20), "12345", "3.14", "'s", "it's", "_", "--", "..."]))
    return "".join(out)


def trained(rng, pre, size, alphabet=None, bytes_first=True):
    """vocab and merges: <unk>, the bytes where wanted, then a trained BPE over `pre`."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre
    lines = [prose(rng, 40) for _ in range(60)]
    if alphabet is not None:
        lines = ["".join(c for c in line if c in alphabet or c == " ") for line in lines]
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=["<unk>"] + (BYTES if bytes_first else [])))
    model = json.loads(t.to_str())["model"]
    return model["vocab"], model["merges"]


def complete(vocab, merges):
    """All the ways to put two tokens together to a third, by the order of the third: as SentencePiece's models are converted."""
    order = {}
    for left, right in merges:
        order.setdefault(left + right, len(order))
    out = []
    for token, _ in sorted(order.items(), key=lambda x: x[1]):
        out += [[token[:i], token[i:]] for i in range(1, len(token)) if token[:i] in vocab and token[i:] in vocab]
    return out


def build(vocab, merges, normalizer=None, pre=None, post=None, decoder=None, added=ADDED, **model):
    vocab = dict(vocab)
    for content, *_ in added:
        vocab.setdefault(content, len(vocab))
    base = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False}
    base.update(model)
    base.update(vocab=vocab, merges=merges)
    tokens = [dict(id=vocab[c], content=c, single_word=w, lstrip=l, rstrip=r, normalized=n, special=s) for c, s, l, r, w, n in added]
    if base["unk_token"] in vocab:
        tokens.insert(0, dict(id=vocab["<unk>"], content="<unk>", single_word=False, lstrip=False, rstrip=False, normalized=False, special=True))
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": sorted(tokens, key=lambda t: t["id"]), "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": base}


def seq(key, *items):
    return {"type": "Sequence", key: list(items)}


def metaspace(scheme, split=True):
    return {"type": "Metaspace", "replacement": BLANK, "prepend_scheme": scheme, "split": split}


def split(pattern, behavior, invert=False, regex=True):
    return {"type": "Split", "pattern": {"Regex" if regex else "String": pattern}, "behavior": behavior, "invert": invert}


def template(prefix, suffix, vocab):
    special = lambda t: {"SpecialToken": {"id": t, "type_id": 0}}
    a = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [special(t) for t in prefix] + [a] + [special(t) for t in suffix], "pair": [a, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [vocab[t]], "tokens": [t]} for t in set(prefix + suffix)}}


LLAMA_DECODER = seq("decoders", {"type": "Replace", "pattern": {"String": BLANK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})
BLANKS = {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def kinds(rng):
    meta = pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme="always")
    vocab, merges = trained(rng, meta, 420)
    all_merges = complete(vocab, merges)
    ids = {c: len(vocab) + i for i, (c, *_) in enumerate(ADDED)}
    prepend = seq("normalizers", {"type": "Prepend", "prepend": BLANK}, BLANKS)
    yield "llama-legacy", build(vocab, all_merges, normalizer=prepend, post=template(["<s>"], [], ids), decoder=LLAMA_DECODER)
    yield "metaspace-first", build(vocab, merges, pre=metaspace("first", False), post=template(["<s>"], ["</s>"], ids), decoder=LLAMA_DECODER)
    yield "metaspace-always", build(vocab, merges, pre=metaspace("always"), decoder=metaspace("always"), fuse_unk=False)
    yield "metaspace-never", build(vocab, merges, pre=metaspace("never"), decoder=metaspace("never"), ignore_merges=True)
    yield "gemma", build(vocab, all_merges, normalizer=BLANKS, pre=split(" ", "MergedWithPrevious", regex=False),
                         decoder=seq("decoders", {"type": "Replace", "pattern": {"String": BLANK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}))
    some = {t: i for i, t in enumerate(t for t in vocab if t not in BYTES[0xA0:0xF0])}
    yield "some-bytes", build(some, merges, normalizer=prepend, decoder=LLAMA_DECODER)
    yield "some-bytes-nofuse", build(some, merges, normalizer=prepend, decoder=LLAMA_DECODER, fuse_unk=False)
    yield "some-bytes-nounk", build(some, merges, normalizer=prepend, decoder=LLAMA_DECODER, unk_token=None)
    odd = dict(vocab)
    odd["<0xC3><0xA9>"] = len(odd)
    odd["<unk>ka"] = len(odd)
    yield "byte-merges", build(odd, merges + [["<0xC3>", "<0xA9>"], ["<unk>", "ka"]], pre=metaspace("always", False), decoder=LLAMA_DECODER)

    plain, plain_merges = trained(rng, pre_tokenizers.WhitespaceSplit(), 160, bytes_first=False)
    joined = seq("decoders", {"type": "Fuse"})
    unknown = dict(byte_fallback=False)
    yield "unk-fused", build(plain, plain_merges, pre={"type": "WhitespaceSplit"}, decoder=joined, **unknown)
    yield "unk-each", build(plain, plain_merges, pre={"type": "Whitespace"}, decoder=joined, fuse_unk=False, **unknown)
    yield "unk-none", build(plain, plain_merges, pre=seq("pretokenizers", {"type": "Whitespace"}, {"type": "Digits", "individual_digits": True}), decoder=joined, unk_token=None, **unknown)
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield "split-" + behavior, build(plain, plain_merges, pre=split("\\s|ka|[0-9]", behavior), decoder=joined, fuse_unk=False, **unknown)
        yield "split-inverted-" + behavior, build(plain, plain_merges, pre=seq("pretokenizers", split("\\p{L}{1,3}", behavior, True), {"type": "Punctuation", "behavior": behavior}), decoder=joined, **unknown)
    yield "digits", build(plain, plain_merges, pre=seq("pretokenizers", {"type": "Digits", "individual_digits": False}, split("st", "MergedWithNext", regex=False), metaspace("first")), decoder=joined, fuse_unk=False, **unknown)
    for name, steps in {"nfkc-lower": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True}],
                        "nfd-accents": [{"type": "NFD"}, {"type": "StripAccents"}],
                        "nfkd-replace": [{"type": "NFKD"}, {"type": "Replace", "pattern": {"Regex": "\\s+|o?"}, "content": BLANK}],
                        "replace-nothing": [{"type": "Replace", "pattern": {"Regex": "^[\\s<k]+"}, "content": ""}, {"type": "NFC"}],
                        "nfc-strip": [{"type": "NFC"}, {"type": "Strip", "strip_left": True, "strip_right": False}]}.items():
        yield name, build(vocab, merges, normalizer=seq("normalizers", *steps), pre=metaspace("first"), decoder=LLAMA_DECODER)
    byte_vocab, byte_merges = trained(rng, pre_tokenizers.ByteLevel(add_prefix_space=True), 420, bytes_first=False)
    for c in pre_tokenizers.ByteLevel.alphabet():
        byte_vocab.setdefault(c, len(byte_vocab))
    byte_ids = {c: len(byte_vocab) + i for i, (c, *_) in enumerate(ADDED)}
    roberta = {"type": "RobertaProcessing", "sep": ["</s>", byte_ids["</s>"]], "cls": ["<s>", byte_ids["<s>"]], "trim_offsets": True, "add_prefix_space": True}
    yield "bytes-roberta", build(byte_vocab, byte_merges, pre={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, post=roberta, decoder=BYTE_LEVEL, byte_fallback=False)
    yield "bytes-removed", build(byte_vocab, byte_merges, normalizer={"type": "NFKC"}, pre=seq("pretokenizers", split("\\s", "Removed"), BYTE_LEVEL), post=seq("processors", BYTE_LEVEL, template(["<s>", "<s>"], [], byte_ids)), decoder=BYTE_LEVEL, byte_fallback=False)
    yield "bytes-unk", build(byte_vocab, byte_merges, pre=seq("pretokenizers", split("\\p{N}{1,3}", "Isolated"), BYTE_LEVEL), decoder=BYTE_LEVEL)
    few = {t: i for i, t in enumerate(t for t in byte_vocab if t not in ("\u00e3", "\u0126", "\u00c2"))}
    few_merges = [m for m in byte_merges if all(t in few for t in m + [m[0] + m[1]])]
    yield "bytes-missing", build(few, few_merges, pre={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}, decoder=BYTE_LEVEL, byte_fallback=False)


    # Random rows of steps.
    normalizers = [{"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"}, BLANKS, {"type": "Prepend", "prepend": BLANK},
                   {"type": "Strip", "strip_left": False, "strip_right": True}, {"type": "Replace", "pattern": {"Regex": "[aeo]+|\\n"}, "content": "<"}, {"type": "Replace", "pattern": {"String": "  "}, "content": ""}]
    decoders = [{"type": "Fuse"}, {"type": "ByteFallback"}, {"type": "Strip", "content": "a", "start": 2, "stop": 0}, {"type": "Replace", "pattern": {"Regex": "k|o*"}, "content": "-"}, BYTE_LEVEL, metaspace("always"), metaspace("never")]
    for i in range(12):
        cuts = [split(rng.choice(["\\s+", "[a-k]", "\\p{P}|\\p{M}", "(?=k)", "$|\\n"]), rng.choice(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]), rng.random() < 0.3) for _ in range(3)]
        cuts += [{"type": "WhitespaceSplit"}, {"type": "Whitespace"}, {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": True}, metaspace("always", rng.random() < 0.5), metaspace("never")]
        yield f"mixed-{i}", build(vocab, rng.choice([merges, all_merges]), normalizer=seq("normalizers", *rng.sample(normalizers, rng.randint(0, 3))), pre=seq("pretokenizers", *rng.sample(cuts, rng.randint(0, 3))),
                                  decoder=seq("decoders", *rng.sample(decoders, rng.randint(1, 4))), fuse_unk=rng.random() < 0.5, byte_fallback=rng.random() < 0.7, ignore_merges=rng.random() < 0.3)


def write(name, spec, rng):
    folder = os.path.join(args.out, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(spec, f, ensure_ascii=False)
    t = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    size = t.get_vocab_size()
    with open(os.path.join(folder, "encodings.jsonl"), "w", encoding="utf-8") as f:
        for i in range(args.lines):
            line = {"text": text(rng)}
            t.encode_special_tokens = False
            line["ids"] = t.encode(line["text"], add_special_tokens=False).ids
            line["ids_with_special"] = t.encode(line["text"]).ids
            t.encode_special_tokens = True
            line["ids_special_as_text"] = t.encode(line["text"], add_special_tokens=False).ids
            if i % 4 == 3:  # any ids, so that runs of byte tokens end anywhere
                line = {"ids": [rng.randrange(size) if rng.random() < 0.4 else rng.randrange(1, 257) for _ in range(rng.randint(1, 12))]}
            line["any_steps"] = name.startswith("mixed")
            line["decoded"] = t.decode(line["ids"], skip_special_tokens=False)
            line["decoded_skip_special"] = t.decode(line["ids"], skip_special_tokens=True)
            f.write(json.dumps(line) + "\n")


rng = random.Random(args.seed)
for name, spec in kinds(rng):
    if not args.only or name in args.only:
        write(name, spec, random.Random(f"{args.seed} {name}"))
