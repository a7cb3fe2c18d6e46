"""Hosts on one machine: network namespaces on a bridge, and a name server that knows them.

It has to run in a network and mount namespace of its own, which `unshare --net --mount` makes: nothing of it is seen
outside, and nothing is left of it once the last process in it has ended.
"""

import os
import pathlib
import socket
import struct
import subprocess
import threading

BRIDGE = "shop"
GATEWAY = "10.77.0.1"


def run(*command):
    """Runs a command, and fails with it."""
    subprocess.run(command, check=True)


class Network:
    """The hosts of a shop, by name, each with an address of its own."""

    def __init__(self, names):
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(sorted(names), 10)}
        self._holders = []
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        self._namespaces = {name: self._host(number, address) for number, (name, address) in enumerate(self.addresses.items())}
        threading.Thread(target=self._answer_names, daemon=True).start()
        resolv = pathlib.Path("/run/resolv.conf")
        resolv.write_text(f"nameserver {GATEWAY}\noptions timeout:1\n")
        run("mount", "--bind", str(resolv), os.path.realpath("/etc/resolv.conf"))

    def _host(self, number, address):
        """Makes a host: a process that holds its namespace, with one end of a cable."""
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
        holder.stdout.read(1)
        self._holders.append(holder)
        run("ip", "link", "add", f"cable{number}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        run("ip", "link", "set", f"cable{number}", "master", BRIDGE, "up")
        namespace = f"--net=/proc/{holder.pid}/ns/net"
        for words in (("link", "set", "lo", "up"), ("addr", "add", f"{address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            run("nsenter", namespace, "ip", *words)
        return namespace

    def on(self, name):
        """Returns the words before a command that is to run on a host."""
        return ["nsenter", self._namespaces[name]]

    def _answer_names(self):
        """Answers the questions for names, as the name server of a container engine does."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((GATEWAY, 53))
        while True:
            question, caller = server.recvfrom(512)
            server.sendto(self._answer(question), caller)

    def _answer(self, question):
        place, labels = 12, []
        while question[place]:
            labels.append(question[place + 1 : place + 1 + question[place]].decode())
            place += 1 + question[place]
        kind, end = struct.unpack_from("!H", question, place + 1)[0], place + 5
        address = self.addresses.get(".".join(labels).lower())
        found = address is not None and kind == 1
        # Flags: an answer, by one who knows; 3 where there is no such name. No other records than these.
        head = question[:2] + struct.pack("!HHHHH", 0x8580 | (0 if address else 3), 1, int(found), 0, 0)
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address) if found else b""
        return head + question[12:end] + record

    def close(self):
        """Ends the processes that hold the namespaces."""
        for holder in self._holders:
            holder.kill()
            holder.wait()
