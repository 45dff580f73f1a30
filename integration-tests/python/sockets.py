# Ports and sockets that open and close.
machine.wait_for_unit("multi-user.target")


def in_background(name, command):
    machine.succeed(f"systemd-run --quiet --unit={name} {command}")


with subtest("TCP ports"):
    machine.wait_for_closed_port(7000)
    in_background("port", "sh -c 'sleep 1; exec nc -lk 7000'")
    machine.wait_for_open_port(7000)
    machine.wait_for_open_port(7000, addr="127.0.0.1", timeout=60)
    machine.systemctl("stop port")
    machine.wait_for_closed_port(7000, timeout=60)
    with t.assertRaisesRegex(Exception, "timed out"):
        machine.wait_for_open_port(7000, timeout=1)

with subtest("Unix sockets: streams and datagrams"):
    in_background("stream", "nc -lkU /run/stream")
    machine.wait_for_open_unix_socket("/run/stream", timeout=60)
    in_background("datagram", "nc -luU /run/datagram")
    machine.wait_for_open_unix_socket("/run/datagram", is_datagram=True, timeout=60)
    with t.assertRaises(Exception):
        machine.wait_for_open_unix_socket("/run/nothing", timeout=1)

with subtest("ports of the host that lead in"):
    import socket
    import urllib.request

    machine.wait_for_unit("nginx")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    machine.forward_port(port, 80)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        assert b"nginx" in answer.read()
