"""HTTP over a bare socket: a client that knows nothing but bytes."""

import socket


def post(body: bytes, *lines: bytes, target: bytes = b"/predict", version: bytes = b"1.1") -> bytes:
    """A whole request."""
    head = [b"POST %b HTTP/%b" % (target, version), b"Host: x", b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join([*head, b"", body])


def accepts(port: int) -> bool:
    """Whether anybody takes connections on this port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


class Client:
    """A connection that knows nothing but bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._received = b""

    def send(self, *pieces: bytes) -> None:
        """Each piece in a segment of its own."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.socket.sendall(piece)

    def answer(self) -> tuple[bytes, dict[str, str], bytes]:
        """Status line, headers and body of the next answer."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, rest = self._received.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = {name.decode(): value.decode() for name, value in (line.split(b": ", 1) for line in lines)}
        self._received = rest
        length = int(headers["content-length"])
        while len(self._received) < length:
            self._more()
        body, self._received = self._received[:length], self._received[length:]
        return status, headers, body

    def closed(self) -> bool:
        """Whether the server closes now, without another byte."""
        return not self._received and self.socket.recv(1) == b""

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        assert data, f"closed after {self._received!r}"
        self._received += data


def ask(client: Client, request: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """One request, one answer."""
    client.send(request)
    return client.answer()
