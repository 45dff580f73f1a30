# Reboots that the test asks for, and one that the guest makes itself.
def boot_id():
    return machine.succeed("cat /proc/sys/kernel/random/boot_id").strip()


machine.start(allow_reboot=True)
first = boot_id()

with subtest("by the test"):
    machine.reboot()
    machine.wait_for_unit("multi-user.target")
    second = boot_id()
    assert second != first

with subtest("by the guest"):
    machine.execute("systemctl reboot >&2 &", check_return=False)
    machine.connected = False
    machine.wait_for_unit("multi-user.target")
    assert boot_id() not in (first, second)
