"""Debian suites that this machine does not use itself, from the archive that it does use.

The address of the archive is read from the machine's own apt sources each time and is written down nowhere else. The
extra suites have apt directories of their own, so the machine's packages never see them.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lvs_lab.artifacts import cache_root
from lvs_lab.errors import HostError
from lvs_lab.progress import run_logged

APT_SOURCES = Path("/etc/apt")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """Where this machine gets Debian from, and the key ring that vouches for it."""

    uri: str
    keyring: str

    def source_lines(self, suites: str) -> str:
        """A deb822 source for other suites of the same archive."""
        return f"Types: deb\nURIs: {self.uri}\nSuites: {suites}\nComponents: main\nSigned-By: {self.keyring}\n"


def parse_deb822(text: str, suite: str) -> Archive | None:
    """The archive of the first stanza that serves a suite."""
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        if suite in fields.get("Suites", "").split() and fields.get("Enabled", "yes") != "no" and fields.get("URIs"):
            keyring = fields.get("Signed-By", _KEYRING)
            return Archive(uri=fields["URIs"].split()[0], keyring=keyring if keyring.startswith("/") else _KEYRING)
    return None


def parse_one_line(text: str, suite: str) -> Archive | None:
    """The archive of the first `deb` line that serves a suite."""
    for options, uri, name in re.findall(r"^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)", text, re.MULTILINE):
        if name == suite:
            keyring = re.search(r"signed-by=(\S+)", options)
            return Archive(uri=uri, keyring=keyring.group(1) if keyring else _KEYRING)
    return None


def own_suite(os_release: Path = Path("/etc/os-release")) -> str:
    """The code name of the Debian that this machine runs."""
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release.read_text(), re.MULTILINE))
    if fields.get("ID") != "debian" or not fields.get("VERSION_CODENAME"):
        raise HostError(f"the lab builds on Debian; {os_release} says ID={fields.get('ID')}")
    return str(fields["VERSION_CODENAME"])


def own_archive(directory: Path = APT_SOURCES) -> Archive:
    """The archive that serves this machine's own suite."""
    suite = own_suite()
    for file in [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]:
        if not file.is_file():
            continue
        found = parse_deb822(file.read_text(), suite) if file.suffix == ".sources" else None
        if file.suffix == ".list":
            found = parse_one_line(file.read_text(), suite)
        if found:
            return found
    raise HostError(f"no apt source under {directory} serves {suite}")


def download(package: str, suites: str, target: Path, log: Path) -> Path:
    """Fetch one package file of other suites into a directory, with apt's own checks of signatures and hashes."""
    apt = cache_root() / "apt"
    for sub in ("lists/partial", "cache/archives/partial", "none"):
        (apt / sub).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    sources = apt / "extra.sources"
    sources.write_text(own_archive().source_lines(suites))
    options = [
        f"Dir::Etc::SourceList={sources}",
        f"Dir::Etc::SourceParts={apt / 'none'}",
        f"Dir::Etc::PreferencesParts={apt / 'none'}",
        f"Dir::State::Lists={apt / 'lists'}",
        f"Dir::State::Status={apt / 'status'}",
        f"Dir::Cache={apt / 'cache'}",
        "APT::Sandbox::User=root",
        "Acquire::Retries=3",
    ]
    apt_get = ["apt-get", "--quiet", *(part for option in options for part in ("-o", option))]
    run_logged([*apt_get, "update"], log)
    run_logged([*apt_get, "download", package], log, cwd=target)
    files = list(target.glob(f"{package}_*.deb"))
    if len(files) != 1:
        raise HostError(f"{package} was not found in {suites}")
    return files[0]
