"""A network between the two that is slow, cut, reset, black-holed or damaging: a TCP relay. Tests have
it from e2e.
"""
import contextlib
import socket
import struct
import threading
import time

from tap import cleanup
from wire import KIB, Frames


def keep_port(below=65536):
    """A port of 127.0.0.1 that nobody else is given until the test function ends, whether the one that it
    is for listens just then or not. That one has to set SO_REUSEADDR."""
    while True:
        keeper = socket.socket()
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        cleanup(keeper.close)
        if keeper.getsockname()[1] < below:
            return keeper.getsockname()[1]


class Link:
    """One connection through a Proxy."""

    def __init__(self, proxy, index, near, far):
        self.proxy, self.index, self.near, self.far = proxy, index, near, far
        self.kind = None  # "control" or "stream", by its first frame
        self.up_bytes = self.down_bytes = 0
        self.dead = False
        self.hung = False  # passes nothing more on to the receiver, and goes on existing
        self.up_ended = False  # what the sender closed has been closed towards the receiver

    def lags(self):
        """The sender has closed it, and the receiver does not know yet."""
        if self.dead or self.hung or self.up_ended:
            return False
        with contextlib.suppress(OSError):
            state = self.near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            return state in (7, 8)  # CLOSE, CLOSE_WAIT
        return False

    def reset(self):
        """Both sides get a reset."""
        self.dead = True
        for s in (self.near, self.far):
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Wakes the pump that reads it without sending a FIN first.
                s.shutdown(socket.SHUT_RD)
            with contextlib.suppress(OSError):
                s.close()

    def close(self):
        self.dead = True
        for s in (self.near, self.far):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                s.close()


class Proxy:
    """A TCP relay: slow, cut, reset, black-holed, or damaging what passes.

    rate: bytes a second, all streams together, towards the receiver; None: no limit.
    narrow: with little room for what it has not passed on; so it is when there is a rate.
    dam_at: once so many bytes have passed towards the receiver the dam is set.
    mangle(link, upward, data): may change the bytearray `data`, whole frames' worth of stream not
    guaranteed; see Frames for damage at a place in a frame."""

    def __init__(self, port, rate=None, host="127.0.0.1", mangle=None, narrow=None, dam_at=None):
        self.target = (host, port)
        self.rate, self.mangle, self.dam_at = rate, mangle, dam_at
        self.narrow = rate is not None if narrow is None else narrow
        self.links = []
        self.holding = threading.Event()  # set: nothing passes (a black hole)
        self.dam = threading.Event()  # set: no contents pass, so that no transfer ends; all else does
        self.open = True
        self._lock = threading.Lock()
        self._budget_at = time.monotonic()
        self.port = keep_port()
        self._listen()
        Proxy.all.append(self)
        cleanup(self.close)

    def _listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if self.holding.is_set():
                self.held = getattr(self, "held", []) + [near]  # accepted, and never answered
                continue
            try:
                far = socket.create_connection(self.target, timeout=20)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            for s in (near, far):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.narrow:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
            link = Link(self, len(self.links), near, far)
            self.links.append(link)
            for upward in (True, False):
                threading.Thread(target=self._pump, args=(link, upward), daemon=True).start()

    def _pump(self, link, upward):
        source, sink = (link.near, link.far) if upward else (link.far, link.near)
        try:
            while True:
                data = source.recv(64 * KIB)
                if upward and link.kind is None and data:
                    link.kind = Frames.kind(data)
                while self._waits(link, upward) and self.open and not link.dead:
                    time.sleep(0.01)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if upward and self.rate and link.kind == "stream":
                    self._pay(len(data))
                if self.mangle:
                    data = bytearray(data)
                    self.mangle(link, upward, data)
                sink.sendall(data)
                if upward:
                    link.up_bytes += len(data)
                else:
                    link.down_bytes += len(data)
                if self.dam_at is not None and self.up_bytes >= self.dam_at:
                    self.dam.set()
        except OSError:
            if not link.dead:
                link.close()
        finally:
            link.up_ended |= upward

    def _waits(self, link, upward):
        dammed = self.dam.is_set() and link.kind == "stream"
        return self.holding.is_set() or (upward and (link.hung or dammed))

    all = []

    @classmethod
    def settle(cls):
        """On one wire the end of a connection comes before the start of the next; here it may be
        delayed on its way. Wait until every end has got through."""
        for proxy in cls.all:
            while proxy.open and any(l.lags() for l in proxy.links if not proxy._waits(l, True)):
                time.sleep(0.002)

    def _pay(self, n):
        with self._lock:
            now = time.monotonic()
            self._budget_at = max(self._budget_at, now - 0.02) + n / self.rate
            wait = self._budget_at - now
        if wait > 0:
            time.sleep(wait)

    def streams(self):
        return [l for l in self.links if l.kind == "stream" and not l.dead]

    def control(self):
        return [l for l in self.links if l.kind == "control" and not l.dead][-1]

    @property
    def up_bytes(self):
        return sum(l.up_bytes for l in self.links)

    def cut(self):
        """Every connection reset, new ones refused."""
        self.stop_listening()
        for link in self.links:
            link.reset()

    def open_dam(self):
        self.dam_at = None
        self.dam.clear()

    def stop_listening(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def mend(self):
        self._listen()

    def close(self):
        if not self.open:
            return
        self.open = False
        Proxy.all.remove(self)
        self.stop_listening()
        for link in self.links:
            link.close()
