"""An HTTP server of fixed pages, as an API server or an agent answers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Pages = dict[str, tuple[int, bytes]]
"""Status and body by path."""


class Answering(BaseHTTPRequestHandler):
    """Answers each path as `pages` say: (status, body)."""

    pages: Pages

    def do_GET(self) -> None:
        status, body = self.pages.get(self.path.split("?")[0], (404, b"not found"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def answering(pages: Pages) -> Iterator[str]:
    handler = type("Handler", (Answering,), {"pages": pages})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
