"""Two servers of Python's standard library, as people write them: one leaves bodies unread, one folds names (WSGI)."""

import http.server
import sys
import wsgiref.simple_server


class Plain(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        text = f"{self.command} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_HEAD = do_DELETE = do_OPTIONS = do_POST = do_GET

    def log_message(self, template, *values):
        print(template % values, flush=True)


def application(environ, start):
    role = environ.get("HTTP_X_ROLE", "none")
    print(environ["REQUEST_METHOD"], environ["PATH_INFO"], role, flush=True)
    start("200 OK", [("Content-Type", "text/plain")])
    return [role.encode()]


if sys.argv[1] == "plain":
    http.server.ThreadingHTTPServer(("", 80), Plain).serve_forever()
else:
    wsgiref.simple_server.make_server("", 80, application).serve_forever()
