"""Patterns of words, and what a user reads who wrote something else: the API server alone names the pattern only."""

from collections.abc import Mapping
from typing import Final

DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
LABEL_KEY: Final = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
MAC_ADDRESS: Final = r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$"
INTERFACE_NAME: Final = r"^\.{0,2}[!-\-0-9;-~][!-.0-9;-~]*$"
HTTP_PATH: Final = r"^/[!-~]*$"
HTTP_HOST: Final = r"^[A-Za-z0-9._:\[\]-]+$"
VRRP_PASSWORD: Final = r"^[A-Za-z0-9._+=@%*,:;/-]+$"  # noqa: S105 -- what one may look like

WORDS: Final[Mapping[str, str]] = {
    DNS_SUBDOMAIN: "must be a name of lower case letters, digits, - and ., in which each part between dots begins and "
    "ends with a letter or digit",
    DNS_LABEL: "must be a name of lower case letters, digits and -, which begins and ends with a letter or digit",
    LABEL_KEY: "must be a label's key: letters, digits, -, _ and ., which begin and end with a letter or digit; before "
    "it there may be a DNS name and /",
    LABEL_VALUE: "must be a label's value: letters, digits, -, _ and ., which begin and end with a letter or digit",
    MAC_ADDRESS: "must be the MAC address of one network card, in lower case with colons, such as 02:00:5e:00:01:af; "
    "one whose first byte is odd is a group's",
    INTERFACE_NAME: "must be a network device's name, in visible ASCII characters without / and :, and neither "
    ". nor ..",
    HTTP_PATH: "must be a path that begins with /, in visible ASCII characters: write others, and spaces, as %XX",
    HTTP_HOST: "must be a host name or an address: ASCII letters, digits, and - . _ : [ ]",
    VRRP_PASSWORD: "must be of ASCII letters, digits, and - . _ + = @ % * , : ; /",
}
"""What is expected, by pattern."""
