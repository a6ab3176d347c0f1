"""HTTP over vsock: the guest's way out through the browser's fetch (proxy.py), and
this side's way to a web server in the guest (client.py).  HTTP/1.1 itself is h11's.
"""

PROXY_PORT = 3128
"""Of vsock, this side's: where the guest's proxy requests arrive."""
FORWARD_PORT = 1024
"""Of vsock, the guest's: guest/helpers/vsock-forward.c leads on to a port of its loopback."""
