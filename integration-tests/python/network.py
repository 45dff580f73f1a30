# Cables that are pulled, names and addresses.
import ipaddress

start_all()
for machine_ in machines:
    machine_.wait_for_unit("multi-user.target")


def address_of(machine_):
    line = machine_.succeed("ip -4 -o addr show dev eth1").split()
    return ipaddress.ip_interface(line[3]).ip


with subtest("both are in one network"):
    assert str(address_of(server)).startswith("192.168.1.")
    assert address_of(server) != address_of(client)
    client.succeed(f"ping -c 1 {address_of(server)}")
    client.succeed("ping -c 1 server", "ping -6 -c 1 server")

with subtest("a pulled cable ends it, and a plugged one brings it back"):
    server.block()
    client.fail("ping -c 1 -W 1 server")
    client.wait_until_fails("ping -c 1 -W 1 server", timeout=20)
    server.unblock()
    client.wait_until_succeeds("ping -c 1 -W 1 server", timeout=60)

assert vlan1.nr == 1 and vlan1.socket_dir.is_dir(), vlan1
assert vlans == driver.vlans == [vlan1]
