"""Clients for the demo: some WORKERS that ask TARGET for a bit of everything until they are stopped."""

import http.client
import os
import random
import threading
import time

TARGET = os.environ.get("TARGET", "envoy:10000")
TCP_TARGET = os.environ.get("TCP_TARGET", "envoy:10001")
WORKERS = int(os.environ.get("WORKERS", "6"))
PAUSE = float(os.environ.get("PAUSE", "0.1"))

# Path and weight. {} is a number of milliseconds.
MIX = [
    ("/shop/status/200", 30), ("/shop/flaky/20", 8), ("/shop/status/404", 2), ("/shop/delay/{}", 4), ("/shop/delay/600", 1),
    ("/search/delay/{}", 12), ("/search/delay/400", 1), ("/payments/delay/50", 12), ("/legacy/status/200", 1),
    ("/ping", 2), ("/nowhere", 1),
]


def ask(address, path):
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path, headers={"User-Agent": "demo"})
        connection.getresponse().read()
    finally:
        connection.close()


def worker():
    paths, weights = zip(*MIX)
    while True:
        path = random.choices(paths, weights)[0].format(int(random.expovariate(1 / 40)))
        try:
            ask(TARGET, path)
            if random.random() < 0.05:
                ask(TCP_TARGET, "/status/200")
            # A client that leaves early, and one that speaks no HTTP at all.
            if random.random() < 0.02:
                gone = http.client.HTTPConnection(TARGET, timeout=0.05)
                gone.request("GET", "/shop/delay/500")
                gone.close()
        except (OSError, http.client.HTTPException):
            time.sleep(0.5)
        time.sleep(random.random() * 2 * PAUSE)


if __name__ == "__main__":
    for _ in range(WORKERS):
        threading.Thread(target=worker, daemon=True).start()
    while True:
        time.sleep(3600)
