"""Wait until the operator says that it is ready: the test of `helm test`. Arguments: URL, seconds."""

import sys
import time
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

url, seconds = sys.argv[1], float(sys.argv[2])
end = time.monotonic() + seconds
ask = build_opener(ProxyHandler({})).open
while True:
    try:
        with ask(url, timeout=5) as answer:
            print(f"{url}: {answer.status} {answer.read().decode().strip()}")
            break
    except HTTPError as error:
        said = f"{error.code} {error.read().decode().strip()}"
    except OSError as error:
        said = str(error)
    if time.monotonic() > end:
        sys.exit(f"The operator was not ready within {seconds:g} s. {url}: {said}")
    time.sleep(1)  # nothing tells when an operator becomes ready; bounded by `seconds`
