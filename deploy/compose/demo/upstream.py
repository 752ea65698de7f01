"""A host for the demo: /status/N answers N, /delay/MS waits first, /flaky/PERCENT answers 503 that often.

UNHEALTHY=SECONDS makes /healthz fail, and everything else answer 503, for a third of each such span.
"""

import os
import random
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UNHEALTHY = float(os.environ.get("UNHEALTHY", "0"))
PORT = int(os.environ.get("PORT", "8080"))


def ill():
    return UNHEALTHY > 0 and time.time() % UNHEALTHY > UNHEALTHY * 2 / 3


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        word, _, rest = self.path.strip("/").partition("/")
        number = int(rest) if rest.isdigit() else 0
        if word == "delay":
            time.sleep(number / 1000)
        code = number if word == "status" and 200 <= number <= 599 else 200
        if ill() or (word == "flaky" and random.random() * 100 < number):
            code = 503
        body = b"demo\n"
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
