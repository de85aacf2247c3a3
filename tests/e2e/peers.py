# SPDX-License-Identifier: LGPL-2.1-or-later
"""peers.py - who is not the right peer: TLS ends by another library, with any version and identity.

`knock` is a source that a destination must refuse; `Impostor` is a destination that a source must.
What lies behind TLS is not spoken here.
"""
import select
import socket
import ssl
import threading

import ports
from processes import DEADLINE


def endpoint(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def tls_context(side, pki, certificate=True, version=None):
    """version: the newest one that it speaks.  It takes anybody."""
    server = side == "server"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.maximum_version = version
    if certificate:
        context.load_cert_chain(
            pki.folder / f"{side}-cert.pem", pki.folder / f"{side}-key.pem"
        )
    return context


def hear_out(stream):
    """Until the other side has closed."""
    try:
        while stream.recv(4096):
            pass
    except OSError:
        pass


def knock(address, pki=None, plain=None, leave=False, **tls):
    """Connects, says `plain` or shakes hands, and waits to be shown the door, or leaves by itself."""
    with socket.create_connection(endpoint(address), DEADLINE) as stream:
        try:
            if pki is None:
                stream.sendall(plain)
                stream.shutdown(socket.SHUT_WR)
                hear_out(stream)
                return
            with tls_context("client", pki, **tls).wrap_socket(stream) as shaken:
                if leave:
                    shaken.unwrap()
                hear_out(shaken)
        except OSError:  # ssl.SSLError is one
            pass


class Crowd:
    """So many silent connections at any time: whoever is shown the door comes back at once."""

    def __init__(self, address, size):
        self.address = address
        self.size = size
        self.count = 0  # of connections so far
        self.wake, self.bell = socket.socketpair()
        self.thread = threading.Thread(target=self.run, name="crowd", daemon=True)
        self.thread.start()

    def come(self):
        stream = socket.socket()
        stream.setblocking(False)
        stream.connect_ex(endpoint(self.address))
        self.count += 1
        return stream

    def run(self):
        streams = [self.come() for _ in range(self.size)]
        while True:
            readable, _, _ = select.select([self.wake, *streams], [], [])
            if self.wake in readable:
                break
            for stream in readable:
                streams.remove(stream)
                stream.close()
                streams.append(self.come())
        for stream in streams:
            stream.close()

    def end(self):
        self.bell.send(b"!")
        self.thread.join(DEADLINE)
        self.wake.close()
        self.bell.close()


class Impostor:
    """Listens as a destination does; each connection gets the same treatment until the end."""

    def __init__(self, treat):
        self.treat = treat
        self.listener, self.address = ports.listen()
        self.thread = threading.Thread(target=self.run, name="impostor", daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            with stream:
                stream.settimeout(DEADLINE)
                try:
                    self.treat(stream)
                except OSError:
                    pass

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(DEADLINE)


def shake_hands(pki, **tls):
    """A treatment: a TLS server with this identity, that says nothing more."""

    def treat(stream):
        with tls_context("server", pki, **tls).wrap_socket(stream, server_side=True) as shaken:
            hear_out(shaken)

    return treat


def say(words):
    """A treatment: these bytes, and no TLS."""

    def treat(stream):
        stream.recv(4096)
        stream.sendall(words)
        hear_out(stream)

    return treat


def hang_up(stream):
    """A treatment."""
    stream.recv(4096)


def keep_silent(stream):
    """A treatment."""
    hear_out(stream)
