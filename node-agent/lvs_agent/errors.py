"""The drawn tree of the agent's errors. What the kernel answers is mapped here at the seams, once."""

# ruff: noqa: N818 (leaves are named after the fault; the roots they hang on end in Error)


class LvsAgentError(Exception):
    """Every error that the agent raises on purpose."""


class KernelError(LvsAgentError):
    """The kernel refused or could not do what was asked; the message says what, and where one is known, what to do."""


class IpvsError(KernelError):
    """Something about the IPVS table."""


class IpvsUnavailable(IpvsError):
    """The kernel has no IPVS: no module ip_vs, or module loading is locked."""


class IpvsReadFailed(IpvsError):
    """The table could not be read in one piece within the bounded number of tries."""


class SettingRefused(IpvsError):
    """The kernel does not take a value for IPVS as a whole."""


class IpvsEntryError(IpvsError):
    """One entry could not be changed; the others of the batch were."""


class SchedulerNotAvailable(IpvsEntryError):
    """ENOENT on a service: the kernel knows no such scheduler (module ip_vs_<name>) or persistence engine."""


class EntryExists(IpvsEntryError):
    """EEXIST: somebody else made the entry since it was read."""


class EntryNotFound(IpvsEntryError):
    """ESRCH for a service, ENOENT for a destination: somebody else removed the entry since it was read."""


class EntryRefused(IpvsEntryError):
    """EINVAL, ERANGE, EAFNOSUPPORT and the like: the kernel does not take these values; ENOMEM: nothing more now."""


class PermissionRefused(KernelError):
    """EPERM or EACCES: the agent lacks CAP_NET_ADMIN, or the file is mounted read-only."""


class LinkError(KernelError):
    """Something about devices, addresses or routes."""


class FamilyNotSupported(LinkError):
    """EAFNOSUPPORT or EOPNOTSUPP: this kernel has nothing of the kind for an address family."""


class DeviceNotFound(LinkError):
    """A device that is named does not exist and can not be made."""


class AddressRefused(LinkError):
    """The kernel did not take the address."""


class ReceivePortError(KernelError):
    """Something about the ports at which the kernel unwraps GUE."""


class SysctlError(KernelError):
    """A sysctl is missing or refused the value."""


class PacketFilterError(KernelError):
    """The packet filter could not be read, or did not take our table."""


class NftMissing(PacketFilterError):
    """There is no program nft, by which our table is written: so nobody made it either."""


class AnnounceError(KernelError):
    """An announcement could not be sent."""


class LinkNotAsked(KernelError):
    """The neighbours on a link could not be asked whether one of them has an address."""


class ArrivalsUnknown(KernelError):
    """What arrives at this node's network cards could not be listened to."""


class NameServersUnknown(LvsAgentError):
    """A file that names this node's name servers is there and can not be read."""


class KeepalivedMissing(LvsAgentError):
    """There is no program keepalived, which speaks VRRP."""


class VrrpSupervisorRuns(LvsAgentError):
    """Another supervisor of the VRRP daemon works with this directory."""


class NamespaceInUse(LvsAgentError):
    """Another agent works in this network namespace."""


class StateInUse(LvsAgentError):
    """Another agent works with this state directory."""


class StateFileDamaged(LvsAgentError):
    """A file of the state directory is not what was written, or can not be read."""


class StateNotWritten(LvsAgentError):
    """The state directory takes no file: nothing is made that could not be remembered."""

    def __init__(self, message: str, *, is_in_place: bool = False) -> None:
        super().__init__(message)
        self.is_in_place = is_in_place
        """The file is there for whoever reads it; whether it outlives a power cut is not known."""


class InvalidManifests(LvsAgentError):
    """Manifests that can not be used; the message names the file and the field."""


class ManifestsDisagree(LvsAgentError):
    """Manifests that are right each by itself, and do not fit together."""


class ApiUnavailable(LvsAgentError):
    """The API server did not answer, or not as it should; what is known goes on."""


class InvalidSettings(LvsAgentError):
    """A flag, an environment variable or a file named by one is wrong."""


class CleanupIncomplete(LvsAgentError):
    """Something of ours is left; the message names it."""
