"""Celery (PyPI `celery[redis]`) over a Redis of its own that appends to its file and syncs at every write: no-op tasks, submit time,
throughput, CPU per task of Redis and of the workers. One JSON line. `redis-server` must be installed (Debian package of that name)."""
import argparse, json, os, socket, subprocess, sys, tempfile, time
import psutil

p = argparse.ArgumentParser()
p.add_argument("--tasks", type=int, default=3000); p.add_argument("--workers", type=int, default=2)
a = p.parse_args()
folder = tempfile.mkdtemp()
with socket.socket() as s:
    s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
url = f"redis://127.0.0.1:{port}/0"
os.chdir(folder)
with open("noop.py", "w") as f:
    f.write(f"""from celery import Celery
app = Celery("noop", broker={url!r}, backend={url!r})
app.conf.task_acks_late = True
@app.task
def noop():
    pass
""")
sys.path.insert(0, folder)
redis = subprocess.Popen(["redis-server", "--port", str(port), "--dir", folder, "--appendonly", "yes", "--appendfsync", "always", "--save", ""],
                         stdout=subprocess.DEVNULL)
worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "noop", "worker", "--loglevel", "ERROR", "--concurrency", str(a.workers)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

def cpu(process):
    all_of_it = [psutil.Process(process.pid)]
    all_of_it += all_of_it[0].children(recursive=True)
    times = [one.cpu_times() for one in all_of_it]
    return sum(t.user + t.system for t in times)

try:
    from celery import group
    from noop import noop
    noop.delay().get(timeout=60)  # everything has started
    redis0, worker0, t0 = cpu(redis), cpu(worker), time.perf_counter()
    submitted = group(noop.s() for _ in range(a.tasks)).apply_async(); t1 = time.perf_counter()
    submitted.join(timeout=600); t2 = time.perf_counter()
    print(json.dumps({"what": "celery + redis", "durability": "fdatasync at every write (appendfsync always)", "tasks": a.tasks, "workers": a.workers,
                      "submit_s": t1 - t0, "submits_per_s": a.tasks / (t1 - t0), "total_s": t2 - t0, "tasks_per_s": a.tasks / (t2 - t0),
                      "server_cpu_us_per_task": 1e6 * (cpu(redis) - redis0) / a.tasks, "worker_cpu_us_per_task": 1e6 * (cpu(worker) - worker0) / a.tasks}))
finally:
    worker.terminate(); worker.wait(); redis.terminate(); redis.wait()
