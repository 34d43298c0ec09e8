"""From a socket to a request: connections, TLS, proxies, origins."""
