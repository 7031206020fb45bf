"""Loads an adapter of ours with PEFT and compares the logits: prints the largest differences as JSON."""

import json
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def main(asked_path: str) -> None:
    with open(asked_path, encoding="utf-8") as file:
        asked = json.load(file)
    ours = load_file(asked["logits"])
    model = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=torch.float32, attn_implementation="eager")

    def largest_difference(module: torch.nn.Module) -> float:
        module.eval()
        differences = []
        with torch.no_grad():
            for number, ids in enumerate(asked["sequences"]):
                logits = module(torch.tensor([ids])).logits[0]
                mine = ours[f"logits.{number}"]
                assert logits.shape == mine.shape, (logits.shape, mine.shape)
                differences.append((logits - mine).abs().max().item())
        return max(differences)

    base = largest_difference(model)
    tuned = largest_difference(PeftModel.from_pretrained(model, asked["adapter"]))
    print(json.dumps({"base": base, "tuned": tuned}))


if __name__ == "__main__":
    main(sys.argv[1])
