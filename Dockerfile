# Two images: `docker build --target operator .` and `docker build --target node-agent .`
#
# Each is two layers on an empty base: Debian 13 with Python and the locked dependencies, without package tools, Perl
# and compilers, which changes rarely; and our code, which is small. /var/lib/dpkg/status lists what is in the image,
# for scanners.
#
# Two builds from the same base, Debian packages and files are the same, bit for bit (`make images-twice`). What a machine, a
# clock or a user's umask would write into them is left out or set to the same.
ARG BASE=docker.io/library/debian:trixie-slim
# The time of all that is made here, in seconds since 1970: of files, and the day on which /etc/shadow was changed.
ARG SOURCE_DATE_EPOCH=1767225600

# --- Python dependencies from the hashed locks, and our code, compiled ----------------------------------------------
FROM ${BASE} AS packages
ARG DEBIAN_FRONTEND=noninteractive
ARG SOURCE_DATE_EPOCH
RUN apt-get update -qq \
 && apt-get install -qq --yes --no-install-recommends python3-pip > /dev/null
COPY requirements/operator.txt requirements/node-agent.txt /requirements/
# What wheels bring along for compilers and type checkers is of no use here. The file systems of the containers are
# read-only, so bytecode is made now, and is never compared with its source.
RUN set -e; for part in operator node-agent; do \
      python3 -m pip install --quiet --no-cache-dir --no-compile --only-binary :all: --require-hashes \
        --root-user-action ignore --target /packages/$part --requirement /requirements/$part.txt; \
      find /packages/$part -type f -name '*.py[xdi]' -delete -o -type f -name '*.pxi' -delete -o -type f -name '*.[ch]' -delete; \
      rm -rf /packages/$part/bin; \
      python3 -m compileall -q --invalidation-mode unchecked-hash -s /packages/$part \
        -p /usr/local/lib/python3.13/dist-packages /packages/$part; \
    done

FROM packages AS code
ARG SOURCE_DATE_EPOCH
COPY crds/lvs_api /code/operator/lvs_api
COPY core/lvs_core /code/operator/lvs_core
COPY operator/lvs_operator /code/operator/lvs_operator
COPY crds/lvs_api /code/node-agent/lvs_api
COPY core/lvs_core /code/node-agent/lvs_core
COPY node-agent/lvs_agent /code/node-agent/lvs_agent
COPY pyproject.toml /
# The distribution's name and version, which the programs report, as an installed package has them. Modes are those of whoever
# checked the files out.
RUN version=$(python3 -c 'import tomllib; print(tomllib.load(open("/pyproject.toml", "rb"))["project"]["version"])'); \
    for part in operator node-agent; do \
      metadata=/code/$part/lvs_operator-$version.dist-info; mkdir $metadata; \
      printf 'Metadata-Version: 2.1\nName: lvs-operator\nVersion: %s\n' "$version" > $metadata/METADATA; \
      python3 -m compileall -q --invalidation-mode unchecked-hash -s /code/$part \
        -p /usr/local/lib/python3.13/dist-packages /code/$part || exit 1; \
      chmod -R u=rwX,go=rX /code/$part; \
      PYTHONPATH=/code/$part:/packages/$part python3 -m lvs_$(echo $part | sed s/node-//) --help > /dev/null || exit 1; \
    done

# --- The two root file systems --------------------------------------------------------------------------------------
FROM ${BASE} AS python
ARG DEBIAN_FRONTEND=noninteractive
ARG SOURCE_DATE_EPOCH
COPY packaging/slim-root.sh /slim-root.sh
RUN apt-get update -qq \
 && apt-get install -qq --yes --no-install-recommends python3-minimal libpython3.13-stdlib > /dev/null

FROM python AS operator-root
COPY --from=packages /packages/operator /usr/local/lib/python3.13/dist-packages
COPY packaging/lvs-operator /usr/local/bin/
RUN sh /slim-root.sh

# keepalived and nftables are driven by the agent; ipvsadm and ip are for the person who looks.
FROM python AS node-agent-root
ARG DEBIAN_FRONTEND=noninteractive
ARG SOURCE_DATE_EPOCH
RUN apt-get install -qq --yes --no-install-recommends keepalived nftables ipvsadm iproute2 > /dev/null
COPY --from=packages /packages/node-agent /usr/local/lib/python3.13/dist-packages
COPY packaging/lvs-agent /usr/local/bin/
RUN sh /slim-root.sh

# --- The images -----------------------------------------------------------------------------------------------------
FROM scratch AS operator
COPY --from=operator-root / /
COPY --from=code /code/operator /usr/local/lib/python3.13/dist-packages
ENV LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/lvs-operator"]
LABEL org.opencontainers.image.title="lvs-operator" org.opencontainers.image.licenses="Apache-2.0"

FROM scratch AS node-agent
COPY --from=node-agent-root / /
COPY --from=code /code/node-agent /usr/local/lib/python3.13/dist-packages
ENV LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["/usr/local/bin/lvs-agent"]
LABEL org.opencontainers.image.title="lvs-operator node agent" org.opencontainers.image.licenses="Apache-2.0"
