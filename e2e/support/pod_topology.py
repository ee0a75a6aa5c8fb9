"""A director and two nodes for pods, all with kubelets, for tests of pods as real servers."""

from typing import Final

DIRECTOR: Final = "director-1"
SERVERS: Final = ("server-1", "server-2")
NODE_ADDRESSES: Final = {"server-1": "192.168.10.21", "server-2": "192.168.10.22"}
TOPOLOGY: Final = """
segments: [lan]
nodes:
  director-1:
    kubelet: true
    role: director
    labels: {lvs-operator.io/role: director}
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.11/24]}}
    gateways: [192.168.10.1]
  server-1:
    kubelet: true
    role: server
    labels: {app: web}
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.21/24]}}
    gateways: [192.168.10.1]
  server-2:
    kubelet: true
    role: server
    labels: {app: web}
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.22/24]}}
    gateways: [192.168.10.1]
routers:
  gateway:
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.1/24]}}
clients:
  client:
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.50/24]}}
    gateways: [192.168.10.1]
"""
