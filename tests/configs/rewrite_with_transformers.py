"""Writes transformers5.json beside each config.json here: the same model as transformers 5 itself writes it.

Run with transformers 5 (the committed files: 5.24.0): python3 tests/configs/rewrite_with_transformers.py
"""
import pathlib
import tempfile

import transformers

assert transformers.__version__.startswith("5."), transformers.__version__
for folder in sorted(p.parent for p in pathlib.Path(__file__).parent.glob("*/config.json")):
    config = transformers.AutoConfig.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as work:
        config.save_pretrained(work)
        (folder / "transformers5.json").write_text((pathlib.Path(work) / "config.json").read_text())
