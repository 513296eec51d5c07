"""A server that speaks OpenAI's chat protocol as far as writing answers needs it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Served:
    """A server that speaks the protocol; ``calls`` is what it was asked, ``fail`` says which calls fail and how.

    ``elsewhere`` is where redirects lead to, and ``reply`` what is said instead of an answer.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.fail: Any = lambda call: 0
        self.elsewhere = ""
        self.reply: Any = None
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:  # several come at once, and each must know its number
                    outer.calls.append(body)
                    number = len(outer.calls)
                outer.headers.append(self.headers.get("Authorization") or "")
                status = outer.fail(number)
                said = f"Answer to {body['messages'][-1]['content']} by {body['model']}"
                choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                reply = {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 0,
                    "model": body["model"],
                    "choices": [choice],
                }
                content = json.dumps({"error": "no"} if status else outer.reply or reply).encode()
                self.send_response(status or 200)
                if status in range(300, 400):
                    self.send_header("Location", outer.elsewhere)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
