"""How evenly `hashmod` shares targets among Prometheus servers, and what moves when a shard is added.

    python3 tests/scaling/sharding.py            prints the tables of docs/scaling.md
    python3 tests/scaling/sharding.py --check    asks a real Prometheus whether it shares as is computed here
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))


def shard(address, shards):
    """Prometheus' hashmod: the last eight bytes of the MD5 sum."""
    return int.from_bytes(hashlib.md5(address.encode()).digest()[8:], "big") % shards


def pods(count):
    """Addresses as a cluster hands them out: 100 pods on a node, a /24 each."""
    return [f"10.{pod // 25600}.{pod // 100 % 256}.{pod % 100 + 2}:9091" for pod in range(count)]


def shares(count, shards):
    sizes = [0] * shards
    for address in pods(count):
        sizes[shard(address, shards)] += 1
    return sizes


def moved(count, before, after):
    return sum(shard(address, before) != shard(address, after) for address in pods(count)) / count


def rows():
    yield "| targets | shards | mean | least | most | most over mean |", "|---|---|---|---|---|---|"
    for count in (100, 1000, 10000):
        for shards in (2, 4, 8):
            sizes = shares(count, shards)
            mean = count / shards
            yield (f"| {count:,} | {shards} | {mean:,.4g} | {min(sizes):,} | {max(sizes):,} | {max(sizes) / mean - 1:+.0%} |",)
    yield "", "| shards | targets that change their shard |", "|---|---|"
    for before, after in ((2, 3), (3, 4), (4, 8), (8, 9)):
        yield (f"| {before} to {after} | {moved(10000, before, after):.0%} |",)


def check(count=400, shards=4):
    """Each shard as a Prometheus of its own, which is asked for its targets."""
    from servers import Prometheus, get, wait_for
    for number in range(shards):
        with tempfile.TemporaryDirectory() as folder:
            prometheus = Prometheus(folder, [], jobs=[{
                "job_name": "envoy", "scrape_interval": "1h", "static_configs": [{"targets": pods(count)}],
                "relabel_configs": [
                    {"source_labels": ["__address__"], "modulus": shards, "target_label": "__tmp_shard", "action": "hashmod"},
                    {"source_labels": ["__tmp_shard"], "regex": str(number), "action": "keep"},
                ],
            }])
            try:
                def targets():
                    answer = json.loads(get(f"{prometheus.url}/api/v1/targets?state=active")[2])
                    return {target["labels"]["instance"] for target in answer["data"]["activeTargets"]}
                have = wait_for("targets", targets)
            finally:
                prometheus.kill()
        want = {address for address in pods(count) if shard(address, shards) == number}
        assert have == want, (number, have ^ want)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
        print("Prometheus shares as computed")
    else:
        print("\n".join(line for row in rows() for line in row))
