"""The real packet filter: the program nft for our table, and one netlink message for whether anything changed."""

import asyncio
import json
import os
import socket
import struct
from typing import Final

from lvs_agent.decide.packet_table import PacketRules, PacketTable
from lvs_agent.errors import NftMissing, PacketFilterError, PermissionRefused
from lvs_agent.kernel.netlink_socket import AnswerLost, NetlinkSocket, open_netlink
from lvs_agent.kernel.netlink_wire import HEADER, NLM_F_REQUEST, NLMSG_ERROR, WireError, attributes, error_code
from lvs_agent.kernel.nft_json import FAMILY, TABLE, read_table, replacement

_PROGRAM: Final = "nft"
_SECONDS: Final = 5.0
"""For one run; a table of a thousand ports takes some hundredths of one."""
_NETLINK_NETFILTER: Final = 12
_GET_GENERATION: Final = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_NFGENMSG: Final = struct.Struct("=BBH")
_GENERATION_ID: Final = 1  # NFTA_GEN_ID, in network order
_NOT_THERE: Final = "No such file or directory"


class NftPacketFilter:
    """`PacketFilter` on the network namespace of this process."""

    def generation(self) -> int:
        """The number of the rule set (nft_gen in linux/netfilter/nf_tables.h); every transaction raises it."""
        netlink = NetlinkSocket(_open)
        try:
            sequence = netlink.next_sequence()
            length = HEADER.size + _NFGENMSG.size
            head = HEADER.pack(length, _GET_GENERATION, NLM_F_REQUEST, sequence, 0)
            netlink.send(head + _NFGENMSG.pack(socket.AF_UNSPEC, 0, 0))
            for buffer, message in netlink.answers(sequence):
                if message.type == NLMSG_ERROR:
                    raise PacketFilterError(f"the kernel's packet filter: {os.strerror(error_code(buffer, message))}")
                start, end = attributes(buffer, message.start + _NFGENMSG.size, message.end)[_GENERATION_ID]
                return int.from_bytes(buffer[start:end], "big")
        except (AnswerLost, WireError, KeyError) as error:
            raise PacketFilterError(f"the kernel's packet filter does not tell its generation: {error!r}") from error
        finally:
            netlink.close()
        raise PacketFilterError("the kernel's packet filter does not tell its generation")

    async def read(self) -> PacketTable | None:
        """Our table."""
        code, out, said = await _run("--json", "--numeric", "list", "table", FAMILY, TABLE)
        if code:
            if _NOT_THERE in said:
                return None
            raise _refusal("reading", said)
        try:
            return read_table(json.loads(out))
        except (ValueError, KeyError, TypeError) as error:
            raise PacketFilterError(
                f"table {FAMILY} {TABLE} is listed in a form that is not known: {error!r}"
            ) from error

    async def replace(self, rules: PacketRules) -> None:
        """One transaction."""
        code, _, said = await _run("--json", "--file", "-", stdin=json.dumps(replacement(rules)))
        if code:
            raise _refusal("writing", said)


async def _run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit code, stdout and stderr of nft."""
    try:
        process = await asyncio.create_subprocess_exec(
            _PROGRAM,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise NftMissing(f"the program nft can not be run ({error.strerror}): install nftables on this node") from error
    try:
        async with asyncio.timeout(_SECONDS):
            out, said = await process.communicate(stdin.encode())
    except TimeoutError as error:
        raise PacketFilterError(f"nft did not end within {_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(errors="replace"), said.decode(errors="replace")


def _refusal(verb: str, said: str) -> PacketFilterError | PermissionRefused:
    words = " ".join(said.split())[:256]
    if "Operation not permitted" in said:
        return PermissionRefused(f"{verb} table {FAMILY} {TABLE}: the agent needs CAP_NET_ADMIN")
    return PacketFilterError(f"{verb} table {FAMILY} {TABLE}: nft says: {words}")


def _open() -> socket.socket:
    try:
        return open_netlink(_NETLINK_NETFILTER)
    except OSError as error:
        raise PacketFilterError(f"the kernel has no packet filter: {error.strerror}") from error
