"""A PEFT adapter with random factors on all seven projections, for benches that need one: MODEL OUT."""
import argparse
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, set_seed

p = argparse.ArgumentParser()
p.add_argument("model"); p.add_argument("out"); p.add_argument("--rank", type=int, default=16)
a = p.parse_args()
set_seed(7)
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
get_peft_model(model, LoraConfig(r=a.rank, lora_alpha=2 * a.rank, bias="none", task_type="CAUSAL_LM", init_lora_weights=False,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])).save_pretrained(a.out)
