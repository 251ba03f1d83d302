"""A network that fails: a proxy that cuts, drops, delays or refuses what a rule says and passes the rest on."""

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_CONNECTION = re.compile(rb"\r\nconnection: [^\r]*\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Fault:
    """What happens to one request. `cut`: reset after so many bytes of the reply; 0: the request arrives and is
    carried out, its reply is lost. `status`: answer with this HTTP error instead of asking the server. `delay`: seconds
    before it is passed on."""

    cut: int | None = None
    status: int | None = None
    delay: float = 0.0


Rule = Callable[[str], Fault | None]
"""Of the request line (`GET /bucket/key HTTP/1.1`), asked once per request; None lets it through."""


@contextmanager
def faulty_proxy(upstream: int, rule: Rule, host: str = "127.0.0.1") -> Iterator[str]:
    """The endpoint of a proxy before the server at port `upstream`, both at address `host`.

    The server is asked to close each connection after one reply, so that the rule sees every request.
    """
    listener = socket.create_server((host, 0))
    stopping = threading.Event()
    workers: list[threading.Thread] = []

    def accept() -> None:
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                client = listener.accept()[0]
                worker = threading.Thread(target=_serve, args=(client, (host, upstream), rule))
                worker.start()
                workers[:] = [one for one in workers if one.is_alive()] + [worker]

    listener.settimeout(0.1)
    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        stopping.set()
        acceptor.join()
        listener.close()
        for worker in workers:
            worker.join(10)


def _serve(client: socket.socket, upstream: tuple[str, int], rule: Rule) -> None:
    with client, contextlib.suppress(OSError):
        client.settimeout(10)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(65536)
            if not piece:
                return
            head += piece
        fault = rule(head.split(b"\r\n", 1)[0].decode())
        if fault is not None and fault.status is not None:
            client.sendall(f"HTTP/1.1 {fault.status} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        if fault is not None:
            time.sleep(fault.delay)
        with socket.create_connection(upstream, timeout=10) as server:
            server.sendall(_CONNECTION.sub(b"\r\n", head).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            sender = threading.Thread(target=_pump, args=(client, server))
            sender.start()
            whole = _reply(server, client, fault.cut if fault else None)
            client.shutdown(socket.SHUT_RDWR if whole else socket.SHUT_RD)  # which wakes the sender
            sender.join(10)
            if not whole:
                # Closing with a linger time of zero sends a reset: what the client sees when a machine dies.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _reply(server: socket.socket, client: socket.socket, cut: int | None) -> bool:
    """Pass the reply on; False if it was cut."""
    sent = 0
    while piece := server.recv(65536):
        if cut is not None and sent + len(piece) > cut:
            client.sendall(piece[: cut - sent])
            while server.recv(65536):  # let the server finish: the request counts as carried out
                pass
            return False
        client.sendall(piece)
        sent += len(piece)
    return True


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
