"""A server on this machine that plays the vendors' services, and says what was asked of it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

from sequester.evidence.tdx import pcs
from sequester.simulator.tdx_chain import FMSPC

Part = tuple[int, Mapping[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]
"""Status, headers and body; or what writes the answer itself."""


@dataclass
class Server:
    """What is at each path: one answer after another, the last one again and again."""

    url: str = ""
    answers: dict[str, list[Part]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def put(self, path: str, *parts: Part) -> None:
        self.answers[path] = list(parts)

    @property
    def sites(self) -> dict[str, str]:
        """This server in the place of all vendors."""
        hosts = "kdsintf.amd.com", "api.trustedservices.intel.com", "certificates.trustedservices.intel.com"
        return dict.fromkeys(hosts, self.url)

    def put_intel(self, files: Mapping[str, bytes], platform_chain: bytes = b"") -> None:
        """Serve the documents of a simulated TDX platform as a PCCS does."""
        chain = quote(files["tcb_chain.pem"])
        self.put(
            path_of(pcs.tcb_address(FMSPC)), (200, {"TCB-Info-Issuer-Chain": chain}, files["tcb_info.json"])
        )
        self.put(
            path_of(pcs.identity_address()),
            (200, {"SGX-Enclave-Identity-Issuer-Chain": chain}, files["qe_identity.json"]),
        )
        for authority in ("platform", "processor"):
            self.put(
                f"/sgx/certification/v4/pckcrl?ca={authority}&encoding=der",
                (200, {"SGX-PCK-CRL-Issuer-Chain": chain}, files["pck_crl.der"]),
            )
        self.put("/sgx/certification/v4/rootcacrl", (200, {}, files["root_crl.der"].hex().encode()))


def path_of(address: str) -> str:
    """The path and query of an address."""
    return "/" + address.split("/", 3)[3]


def ok(body: bytes, **headers: str) -> Part:
    """A whole answer."""
    return 200, headers, body


@contextmanager
def serving() -> Iterator[Server]:
    """Serve until the end of the block."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                server.asked[self.path] += 1
                parts = server.answers.get(self.path, [(404, {}, b"")])
                part = parts.pop(0) if len(parts) > 1 else parts[0]
            if callable(part):
                part(self)
                return
            status, headers, body = part
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    lock = threading.Lock()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
