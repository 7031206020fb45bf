"""What a GPU machine without Rust, network or compiler runs of Assay, and beside it what one would run instead. README.md says how."""
import argparse, glob, json, os, subprocess, sys, threading, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MINUTES = 9  # each command ends before this
LENGTHS = HERE / "lengths.json"


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("what", choices=["check", "train", "generate", "baseline"])
    p.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    p.add_argument("--shape", default="qwen2.5-3b", help="a folder with a config.json")
    p.add_argument("--rows", type=int, default=0, help="rows to train on; 0: as many of 1,153 as fit the time, at two epochs")
    p.add_argument("--epochs", type=int, default=2)
    p.add_argument("--prompts", type=int, default=57)
    p.add_argument("--max-new-tokens", type=int, default=512)
    p.add_argument("--micro-batch", type=int, default=2)
    p.add_argument("--accumulate", type=int, default=4)
    p.add_argument("--max-length", type=int, default=2048)
    p.add_argument("--row-by-row", action="store_true", help="train: time attention row by row too, in half of the time each")
    p.add_argument("--out", default="results", help="a file for each command is written here")
    return p.parse_args()


def main():
    a = arguments()
    deadline = time.monotonic() + MINUTES * 60 - 40
    commands = {"check": check, "train": train, "generate": generate, "baseline": baseline}
    result = {"what": a.what, "machine": machine(a.device), "arguments": vars(a), **commands[a.what](a, deadline)}
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{a.what}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    sys.exit(0 if result.get("passed", True) else 1)


def machine(device):
    import torch, transformers
    about = {"torch": torch.__version__, "transformers": transformers.__version__, "cores": os.cpu_count()}
    if device == "cuda":
        about |= {"gpu": torch.cuda.get_device_name(0), "gemm_bf16_tflops": gemm_tflops()}
    return about


def gemm_tflops(n=8192, products=20):
    """What this GPU reaches in bfloat16 matrix products of random numbers, the highest rate training could have."""
    import torch
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(products):
        a @ b
    torch.cuda.synchronize()
    return 2 * n**3 * products / (time.perf_counter() - start) / 1e12


def environment():
    """The worker finds LibTorch and CUDA in the installed torch; the baselines find the wheels that came along."""
    import torch
    lib = Path(torch.__file__).parent / "lib"
    packages = lib.parent.parent
    nvidia = glob.glob(str(packages / "nvidia" / "**" / "lib"), recursive=True)
    site = HERE / "site"
    if not site.exists():
        wheels = sorted(str(wheel) for wheel in (HERE / "wheels").glob("*.whl"))
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--target", str(site)]
        subprocess.run(install + wheels, check=True)
    env = dict(os.environ, HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
    env["LD_LIBRARY_PATH"] = os.pathsep.join([str(lib), *nvidia, *filter(None, [env.get("LD_LIBRARY_PATH")])])
    env["PYTHONPATH"] = os.pathsep.join([str(site), *filter(None, [env.get("PYTHONPATH")])])
    return env


class Memory:
    """The GPU's memory in use, by anybody, above what it was before: the same measure for both sides."""

    def __init__(self, device):
        self.stop, self.peak, self.before = threading.Event(), 0, self.used() if device == "cuda" else None
        self.thread = threading.Thread(target=self.watch) if device == "cuda" else None

    @staticmethod
    def used():
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout)

    def watch(self):
        while not self.stop.wait(0.25):
            self.peak = max(self.peak, self.used() - self.before)

    def __enter__(self):
        if self.thread:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        if self.thread:
            self.thread.join()


def run(command, device, deadline, allow_failure=False):
    """The last JSON object that a program prints, with the memory it took."""
    limit = max(1, deadline - time.monotonic())
    with Memory(device) as memory:
        try:
            done = subprocess.run([str(part) for part in command], env=environment(), stdout=subprocess.PIPE, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {limit:.0f} s"}
    if done.returncode and not allow_failure:
        return {"error": f"ended with {done.returncode}: {done.stdout[-500:]}"}
    text = done.stdout.strip()
    found = json.loads(text if text.startswith("{") and "\n" in text else text.splitlines()[-1])
    return {**found, "peak_gpu_mib_seen": memory.peak} if device == "cuda" else found


def worker():
    return HERE / "assay-worker"


def check(a, deadline):
    """Every golden folder; a difference over its tolerance fails."""
    folders = sorted(path.parent for path in (HERE / "golden").glob("*/golden.json"))
    reports = {}
    for folder in folders:
        reports[folder.name] = run([worker(), "check", folder, "--json", "--device", a.device], a.device, deadline, allow_failure=True)
    return {"passed": all(report.get("passed") for report in reports.values()), "reports": reports}


def lengths(a):
    return [min(length, a.max_length) for length in json.loads(LENGTHS.read_text())]


def shape(a):
    return HERE / a.shape


def parameters(a):
    """Weights that every token is multiplied with: all matrices, the output head included, the embedding not."""
    c = json.loads((shape(a) / "config.json").read_text())
    hidden, inner, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    kv = c["num_key_value_heads"] * (c.get("head_dim") or hidden // heads)
    layer = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner
    return c["num_hidden_layers"] * layer + hidden * c["vocab_size"]


def with_share(a, figures):
    """Share of the measured matrix rate: 4 operations for each weight and token (forward, and the gradient of activations only)."""
    if "tokens_per_s" in figures and a.device == "cuda":
        figures["tflops"] = 4 * parameters(a) * figures["tokens_per_s"] / 1e12
    return figures


def fitting_rows(a, one, deadline):
    """As many rows as fit the time at the speed of a short run; all of them where they do."""
    if a.rows:
        return a.rows
    probe = one(16, 1)
    if "error" in probe:
        return 16
    total, left = lengths(a), (deadline - time.monotonic()) * 0.8
    budget, rows = probe["tokens_per_s"] * left / a.epochs, 0
    while rows < len(total) and sum(total[: rows + 1]) < budget:
        rows += 1
    return max(16, rows)


def train(a, deadline):
    """With --row-by-row twice: attention as it is, then a call for each row of a pass. Losses of both stand side by side."""
    def one(rows, epochs, *more):
        command = [worker(), "bench-train", shape(a), LENGTHS, "--random-weights", "--device", a.device, "--examples", rows, "--epochs", epochs]
        command += ["--micro-batch", a.micro_batch, "--accumulate", a.accumulate, "--max-length", a.max_length, *more]
        return with_share(a, run(command, a.device, deadline))

    middle = time.monotonic() + (deadline - time.monotonic()) / (2 if a.row_by_row else 1)
    rows = fitting_rows(a, one, middle)
    result = {"rows": rows, "of": len(lengths(a)), "train": one(rows, a.epochs)}
    if a.row_by_row:
        result["train_row_by_row"] = one(rows, a.epochs, "--row-by-row")
    return result


def generate(a, deadline):
    def one(*more):
        command = [worker(), "bench-generate", shape(a), "none", "--random-weights", "--device", a.device, "--prompts", a.prompts]
        command += ["--max-new-tokens", a.max_new_tokens, *more]
        return run(command, a.device, deadline)

    base, both = one("--batch", a.prompts), one("--batch", 2 * a.prompts, "--mixed")
    return {"base": base, "base_and_adapter_in_one_batch": both}


def baseline(a, deadline):
    """The same through PEFT and Transformers, in half of the time each."""
    middle = time.monotonic() + (deadline - time.monotonic()) / 2
    dtype = "bfloat16" if a.device == "cuda" else "float32"

    def one(rows, epochs):
        """Activations are kept, as Assay keeps them; computed twice only where that does not fit."""
        kept = trained(rows, epochs)
        return kept if "error" not in kept else {**trained(rows, epochs, "--checkpointing"), "checkpointing": True, "without": kept["error"]}

    def trained(rows, epochs, *more):
        command = [sys.executable, HERE / "peft_train.py", shape(a), LENGTHS, "--random-weights", "--device", a.device, "--dtype", dtype]
        command += ["--rows", rows, "--epochs", epochs, "--micro-batch", a.micro_batch, "--accumulate", a.accumulate, *more]
        return with_share(a, run(command, a.device, middle))

    def answers(*more):
        command = [sys.executable, HERE / "hf_generate.py", shape(a), "none", "--random-weights", "--device", a.device, "--dtype", dtype]
        command += ["--prompts", a.prompts, "--batch", a.prompts, "--max-new-tokens", a.max_new_tokens, "--ignore-eos", *more]
        return run(command, a.device, deadline)

    rows = fitting_rows(a, one, middle)
    return {"rows": rows, "train": one(rows, a.epochs), "base": answers(), "adapter": answers("--adapter", "random")}


if __name__ == "__main__":
    main()
