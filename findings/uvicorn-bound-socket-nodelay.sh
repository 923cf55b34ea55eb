#!/usr/bin/env bash
# What: uvicorn 0.54.0 on asyncio's own event loop: TCP_NODELAY of its connections, where uvicorn listens by itself and where it is given a
#   socket that Config.bind_socket made (as with --workers, --reload and for sockets of a service manager).
# Seen: connections have TCP_NODELAY in the first case and not in the second. asyncio sets it for sockets whose protocol number is TCP's;
#   getaddrinfo, by which it listens itself, says 6, and socket.socket(family), which bind_socket calls, says 0, that of accepted ones too.
#   Answers of several parts on a kept connection then wait for the client's delayed acknowledgement: 40 ms each on Linux.
# Why a good guess is wrong: the same server, loop, address and program; more workers are to make it faster, and asyncio documents
#   TCP_NODELAY as set for all TCP connections.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q uvicorn==0.54.0 h11==0.16.0
cat > "$work/probe.py" <<'PY'
import asyncio
import http.client
import socket
import statistics
import threading
import time
import uvicorn

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})

def ask(port, spent):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(30):
        start = time.perf_counter()
        connection.request("GET", "/")
        connection.getresponse().read()
        spent.append(time.perf_counter() - start)

async def seen(given):
    port = 0
    if not given:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    config = uvicorn.Config(app, host="127.0.0.1", port=port, loop="asyncio", http="h11", lifespan="off", log_level="error")
    sockets = [config.bind_socket()] if given else None
    port = sockets[0].getsockname()[1] if given else port
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=sockets))
    while not server.started:
        await asyncio.sleep(0.01)
    with socket.create_connection(("127.0.0.1", port)):
        while not server.server_state.connections:
            await asyncio.sleep(0.01)
        (protocol,) = server.server_state.connections
        nodelay = protocol.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    spent = []
    await asyncio.to_thread(ask, port, spent)
    server.should_exit = True
    await task
    return bool(nodelay), round(1000 * statistics.median(spent), 1)

print("uvicorn", uvicorn.__version__)
alone, given = asyncio.run(seen(False)), asyncio.run(seen(True))
print("listens by itself:        TCP_NODELAY %s, a request of a kept connection %.1f ms (median of 30)" % alone)
print("Config.bind_socket given: TCP_NODELAY %s, a request of a kept connection %.1f ms" % given)
assert alone[0] and not given[0]
PY
"$work/venv/bin/python" "$work/probe.py"
