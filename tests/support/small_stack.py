"""A program of two small processes, for tests of the stack without the shop."""

from pathlib import Path

MANAGE = """
import sys
print("manage", *sys.argv[1:])
sys.exit(sys.argv[1] == "fail")
"""
SERVER = """
import http.server, os, signal, subprocess, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(os.environ.get("ANSWER", "200")))
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])

def end(*_):
    print("ended cleanly", flush=True)
    child.kill()
    sys.exit()

signal.signal(signal.SIGTERM, end)
print("serving", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""
PROCFILE = """
# comment: with a colon
web: exec python server.py
idle: exec python -c "import time; time.sleep(1000)"
"""
ELSEWHERE = {
    "DATABASE_URL": "postgres://elsewhere/shop",
    "REDIS_URL": "redis://elsewhere",
    "RAZORPAY_BASE_URL": "http://127.0.0.1:9",
}


def write_into(directory: Path) -> None:
    """Write its `manage.py`, `server.py` and `Procfile`."""
    for name, text in (("manage.py", MANAGE), ("server.py", SERVER), ("Procfile", PROCFILE)):
        (directory / name).write_text(text)
