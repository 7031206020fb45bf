"""Writes lengths.json: 1,153 row lengths, log-normal with a mean of 775, from 64 to 2,048 tokens: the shape of the method's conversations."""
import json, random
from pathlib import Path

mu, target = 6.4, 775
for _ in range(60):  # cutting the ends moves the mean, so mu is searched for
    draw = random.Random(7)
    lengths = [min(2048, max(64, round(draw.lognormvariate(mu, 0.6)))) for _ in range(1153)]
    mu += (target - sum(lengths) / len(lengths)) / target / 2
(Path(__file__).parent / "lengths.json").write_text(json.dumps(lengths) + "\n")
