"""`sequester serve`: the answers of `verify`, over HTTP."""

from __future__ import annotations

import argparse
import os
import socket
from datetime import UTC, datetime

from sequester.batch.appraise import Held
from sequester.cli.arguments import add_host
from sequester.cli.output import say
from sequester.cli.signals import terminate_as_interrupt
from sequester.cli.verify import the_collateral, the_policy
from sequester.errors import HostError, InputError

_BACKLOG = 512
_KEEP_ALIVE = 20
_EPILOG = """\
examples:
  sequester serve --policy policy.toml --collateral collateral/
  curl --data-binary @report.bin 'http://127.0.0.1:8080/v1/appraisals?report_data=00112233'
  curl --json '{"evidence": "BASE64", "report_data": "00112233"}' http://127.0.0.1:8080/v1/appraisals
  curl http://127.0.0.1:8080/health http://127.0.0.1:8080/metrics

Policy and collateral are read once: start it anew when they change. It keeps nothing, so any number of copies behind a
balancer give the same answer. It asks nobody who they are, and without --tls-cert it speaks plain HTTP.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8080",
        metavar="HOST:PORT|PATH",
        help="where to listen: an address, or the path of a UNIX socket (127.0.0.1:8080)",
    )
    parser.add_argument("--policy", metavar="F", help="what is asked of all evidence, in TOML")
    parser.add_argument("--guest", metavar="GUEST", help="it must come from this guest")
    parser.add_argument("--limit", metavar="auto|NAME", help="the guest's platform, as for `plan`")
    add_host(parser)
    parser.add_argument(
        "--collateral",
        action="append",
        default=[],
        metavar="DIR|FILE",
        help="certificates, revocation lists, the vendor's tables; may be given several times",
    )
    parser.add_argument(
        "--trust-simulated", action="store_true", help="accept evidence under a simulated root"
    )
    parser.add_argument("--tls-cert", metavar="F", help="certificate chain in PEM, for HTTPS")
    parser.add_argument("--tls-key", metavar="F", help="its private key in PEM")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    try:
        import uvicorn

        from sequester.service.app import application
    except ImportError as error:
        raise HostError(
            "the service needs packages that are not installed",
            code="serve.missing",
            why=f"no module '{error.name}'",
            remedy="pip install 'sequester[serve]'",
        ) from None
    from sequester.report.appraisal_json import told_of

    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        raise InputError("TLS takes a certificate and its key", code="usage.tls", remedy="give both")
    arguments.report_data = arguments.pccs = None
    arguments.online = False
    policy, platform = the_policy(arguments)
    held = Held(policy, the_collateral(arguments), _now(), platform)
    place, listening = _listen(arguments.listen)
    scheme = "https" if arguments.tls_cert else "http"
    configuration = uvicorn.Config(
        application(held, told_of, _now),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_KEEP_ALIVE,
        backlog=_BACKLOG,
        ssl_certfile=arguments.tls_cert,
        ssl_keyfile=arguments.tls_key,
    )
    try:
        configuration.load()
    except (OSError, ValueError) as error:
        raise InputError(
            "certificate or key cannot be used",
            code="serve.tls",
            where=arguments.tls_cert or "",
            why=str(error),
        ) from None
    say(f"listening on {scheme}://{place}" if ":" in place else f"listening on {place}")
    terminate_as_interrupt()  # uvicorn gives signals on when it is done
    with listening:
        try:
            uvicorn.Server(configuration).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            if listening.family == socket.AF_UNIX:
                os.unlink(arguments.listen)
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _listen(where: str) -> tuple[str, socket.socket]:
    """Return a listening socket, and its place as people write it. Raises InputError where it cannot be had."""
    host, colon, port = where.rpartition(":")
    try:
        if "/" in where or not colon:
            return where, _unix(where)
        if not port.isdecimal() or int(port) > 0xFFFF:
            raise InputError(
                f"'{where[:80]}' is no place to listen", code="usage.listen", remedy="HOST:PORT, or a path"
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=_BACKLOG)
        return f"{host}:{made.getsockname()[1]}", made
    except OSError as error:
        raise InputError(
            "it cannot listen there", code="serve.listen", where=where, why=error.strerror or str(error)
        ) from None


def _unix(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        made.bind(path)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(mask)
    made.listen(_BACKLOG)
    return made
