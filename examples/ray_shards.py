"""Many videos on a Ray cluster: a task for each shard.

    python ray_shards.py --shards 16 --gpus 1 videos/ --masks masks/ --method stm \
        --weights stm.safetensors --out out/

All but the options of this script are those of `vos-jax segment-many`; paths must be
seen by all machines. A task whose machine fails is run again by Ray, and goes on where
it was. Needs `pip install "vos_jax[ray]"`.
"""

import argparse
import sys

import ray


# A process that ends gives its device back: JAX keeps what it has allocated.
@ray.remote(max_retries=5, max_calls=1)
def segment(words: list[str], shard: str) -> int:
    """Segments a shard; returns the exit code of `vos-jax`."""
    from vos_jax.cli import main

    return main(["segment-many", *words, "--shard", shard])


def run() -> int:
    """Starts the tasks and waits for them."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--gpus", type=float, default=0, help="for each task")
    parser.add_argument("--cpus", type=float, default=1, help="for each task")
    args, words = parser.parse_known_args()
    ray.init(log_to_driver=True)
    task = segment.options(num_gpus=args.gpus, num_cpus=args.cpus)
    shards = [f"{number}/{args.shards}" for number in range(1, args.shards + 1)]
    waiting = {task.remote(words, shard): shard for shard in shards}
    failed = []
    while waiting:
        (done,), _ = ray.wait(list(waiting))
        shard = waiting.pop(done)
        try:
            code = ray.get(done)
        except ray.exceptions.RayError as error:
            code = f"none, {error}".splitlines()[0]
        print(f"shard {shard}: exit code {code}, {len(waiting)} left", flush=True)
        if code != 0:
            failed.append(shard)
    if failed:
        print(f"not done: {', '.join(failed)}; run the same again", file=sys.stderr)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(run())
