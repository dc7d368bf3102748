"""Times what a shell is too slow or too blind for.

processes.py first-page TIMES URL CMD…   milliseconds from starting CMD to its first good answer at URL, one line a time
processes.py peak CMD…                   runs CMD, passes its output on, and prints its largest memory in MB last
"""

import resource
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

PATIENCE_S = 30


def first_page(times, url, command):
    where = urlsplit(url)
    request = f"GET {where.path or '/'} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode()
    for _ in range(times):
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not answers(where, request):
                if process.poll() is not None or time.monotonic() - began > PATIENCE_S:
                    sys.exit(f"no page at {url} from {command}")
                time.sleep(0.0005)  # a port that is closed says so at once
            print(round((time.monotonic() - began) * 1000, 1), flush=True)
        finally:
            process.terminate()
            process.wait()


def answers(where, request):
    try:
        with socket.create_connection((where.hostname, where.port), timeout=PATIENCE_S) as connection:
            connection.sendall(request)
            head = connection.recv(64)
            return head.startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def peak(command):
    code = subprocess.call(command)
    print(round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6, 1))
    sys.exit(code)


match sys.argv[1:]:
    case ["first-page", times, url, *command]:
        first_page(int(times), url, command)
    case ["peak", *command]:
        peak(command)
    case _:
        sys.exit(__doc__)
