"""The connection to a server, with the credentials that a server with principals asks for.

They come from the environment, by the names that the gateway has for them. A token as an argument would be seen by
everybody on the machine.
"""

import ipaddress
import os
import pathlib

import grpc

TOKEN = "FLASHSALE_SERVER_TOKEN"
CA, CERT, KEY = "FLASHSALE_SERVER_CA", "FLASHSALE_SERVER_CERT", "FLASHSALE_SERVER_KEY"
ABOUT = f"""\
A server with principals asks for a token ({TOKEN}, or {TOKEN}_FILE), or for a certificate ({CERT} and
{KEY}). {CA} is the file of the CA by which the server is known: with it the calls are encrypted."""


class Bearer(grpc.UnaryUnaryClientInterceptor):
    """Sends a token with each call."""

    def __init__(self, token):
        self.header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation, client_call_details, request):
        metadata = [*(client_call_details.metadata or ()), self.header]
        return continuation(client_call_details._replace(metadata=metadata), request)


def connect(server):
    """Opens a channel to `server`. Raises ValueError where a file can't be read or settings don't fit."""
    ca, certificate, key = (read(name) for name in (CA, CERT, KEY))
    if ca is None and (certificate is not None or key is not None):
        raise ValueError(f"{CERT} and {KEY} need {CA}: a certificate is shown over TLS alone")
    if (certificate is None) != (key is None):
        raise ValueError(f"{CERT} and {KEY} go together: set both")
    token = own_token()
    if token and ca is None and not is_on_this_machine(server):
        raise ValueError(f"a token would go to {server} in plain text: set {CA}")
    if ca is None:
        channel = grpc.insecure_channel(server)
    else:
        channel = grpc.secure_channel(server, grpc.ssl_channel_credentials(ca, key, certificate))
    return grpc.intercept_channel(channel, Bearer(token)) if token else channel


def own_token():
    """Returns the token, or None where none is set."""
    token, of_file = os.environ.get(TOKEN), read(f"{TOKEN}_FILE")
    if token and of_file is not None:
        raise ValueError(f"{TOKEN} is given, and so is {TOKEN}_FILE: leave one out")
    if of_file is None:
        return token
    try:
        text = of_file.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise ValueError(f"{TOKEN}_FILE names a file without a token")
    return text


def is_on_this_machine(server):
    """Tells whether `server`, a host and a port, is on this machine, which no network lies between."""
    host = server.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read(name):
    """Returns what is in the file that an environment variable names, or None where it isn't set."""
    path = os.environ.get(name)
    try:
        return pathlib.Path(path).read_bytes() if path else None
    except OSError as error:
        # Somebody may have put the secret itself where its path belongs.
        raise ValueError(f"{name} names a file that can't be read: {error.strerror}") from None
