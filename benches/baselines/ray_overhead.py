"""Ray (PyPI `ray`) on this machine: no-op tasks, submit time, throughput, CPU per task of its servers and of its workers. One JSON line.
Nothing of it is on a disk: a submission is a call, and the state is lost with the head process."""
import argparse, json, time
import psutil, ray

p = argparse.ArgumentParser()
p.add_argument("--tasks", type=int, default=3000); p.add_argument("--workers", type=int, default=2)
a = p.parse_args()
ray.init(num_cpus=a.workers, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20)

@ray.remote
def noop():
    pass

def cpu(is_server):
    children = psutil.Process().children(recursive=True)
    names = [(one, " ".join(one.cmdline()[:1])) for one in children]
    times = [one.cpu_times() for one, name in names if ("gcs_server" in name or "raylet" in name) == is_server]
    return sum(t.user + t.system for t in times)

ray.get([noop.remote() for _ in range(20)])  # everything has started
server0, worker0, t0 = cpu(True), cpu(False), time.perf_counter()
submitted = [noop.remote() for _ in range(a.tasks)]; t1 = time.perf_counter()
ray.get(submitted); t2 = time.perf_counter()
print(json.dumps({"what": "ray", "durability": "none: in memory", "tasks": a.tasks, "workers": a.workers,
                  "submit_s": t1 - t0, "submits_per_s": a.tasks / (t1 - t0), "total_s": t2 - t0, "tasks_per_s": a.tasks / (t2 - t0),
                  "server_cpu_us_per_task": 1e6 * (cpu(True) - server0) / a.tasks, "worker_cpu_us_per_task": 1e6 * (cpu(False) - worker0) / a.tasks}))
ray.shutdown()
