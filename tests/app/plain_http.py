"""httpx's one-call functions without TLS, which loads the system's certificates at every call: 40 ms each time."""

import ssl
from functools import partial

import httpx

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

get = partial(httpx.get, verify=NO_CERTIFICATES, timeout=300)
post = partial(httpx.post, verify=NO_CERTIFICATES, timeout=300)
request = partial(httpx.request, verify=NO_CERTIFICATES, timeout=300)
