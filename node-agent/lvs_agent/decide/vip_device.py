"""On which device of a director a virtual address goes."""

from ipaddress import ip_network

from lvs_agent.decide.kernel_state import HOST_PREFIX_LENGTH, IPAddress, KernelLinks, family_of


def choose_vip_device(
    address: IPAddress, links: KernelLinks, interface: str | None, carrier: str | None = None
) -> str | None:
    """The group's interface, else the device whose subnet holds the address, else the default route's.

    The longest prefix wins, then the device made first. None when there is no such device: the caller says so.
    The `carrier`, which carries the address already, goes before the default route's device, and before others whose
    subnets hold it: a network that is set up anew has no subnets for a moment, and no VIP is to wander for that.
    """
    if interface is not None:
        return interface if interface in links.devices else None
    holders = [
        (-a.prefix_length, links.devices[a.device].index, a.device)
        for a in links.addresses
        if a.address.version == address.version
        and a.prefix_length < HOST_PREFIX_LENGTH[address.version]
        and a.device in links.devices
        and links.devices[a.device].arp_capable
        and address in ip_network((a.address, a.prefix_length), strict=False)
    ]
    if carrier in links.devices and (not holders or carrier in {device for _, _, device in holders}):
        return carrier
    if holders:
        return min(holders)[2]
    return links.default_devices.get(family_of(address))
