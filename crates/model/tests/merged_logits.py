"""Loads base with adapter by PEFT and merged weights by Transformers: prints the largest differences of logits as JSON."""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

asked = json.load(open(sys.argv[1]))
torch.set_num_threads(1)
torch.manual_seed(0)


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


with torch.no_grad():
    base = load(asked["model"])
    ids = torch.randint(0, base.config.vocab_size, (1, 32))
    plain = base(ids).logits
    tuned = PeftModel.from_pretrained(base, asked["adapter"]).eval()(ids).logits
    merged = load(asked["merged"])(ids).logits
print(json.dumps({"differs": (merged - tuned).abs().max().item(), "changes": (plain - tuned).abs().max().item()}))
