# QEMU's two monitors, and a disk that the host makes.
import os
import subprocess

machine.wait_for_unit("multi-user.target")

with subtest("the monitor for people"):
    assert "running" in machine.send_monitor_command("info status")
    assert "unknown command" in machine.send_monitor_command("no such command").lower()

with subtest("the protocol, and its events"):
    assert machine.qmp_client.send("query-status")["return"]["status"] == "running"
    try:
        machine.qmp_client.send("no-such-command")
    except RuntimeError as error:
        assert "CommandNotFound" in str(error)
    list(machine.qmp_client.events())
    machine.qmp_client.send("stop")
    machine.qmp_client.send("cont")
    resumed = machine.wait_for_qmp_event(lambda event: event["event"] == "RESUME", timeout=30)
    assert resumed["timestamp"]["seconds"] > 0
    with t.assertRaises(TimeoutError):
        machine.wait_for_qmp_event(lambda event: event["event"] == "NO_SUCH", timeout=1)

with subtest("a disk that the host makes is opened and closed"):
    image = machine.state_dir / "extra.img"
    subprocess.run(["truncate", "--size=64M", image], check=True)
    machine.qmp_client.send(
        "blockdev-add",
        {"driver": "raw", "node-name": "extra", "file": {"driver": "file", "filename": os.fspath(image)}},
    )
    nodes = machine.qmp_client.send("query-named-block-nodes")["return"]
    assert "extra" in [node["node-name"] for node in nodes]
    machine.qmp_client.send("blockdev-del", {"node-name": "extra"})
