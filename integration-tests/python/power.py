# A machine that is switched off in every way, and on again.
machine.wait_for_unit("multi-user.target")
assert machine.booted and machine.connected and machine.is_up()

with subtest("by the test"):
    machine.shutdown()
    assert not machine.booted and not machine.is_up()
    machine.shutdown()

with subtest("by a power failure"):
    machine.start()
    machine.succeed("touch /run/was-here")
    machine.crash()
    assert not machine.booted
    machine.start()
    machine.fail("test -e /run/was-here")

with subtest("by the guest"):
    machine.execute("systemctl poweroff --no-block", check_return=False)
    machine.wait_for_shutdown()
    assert machine.process is None

with subtest("at a reboot that is not allowed"):
    machine.start()
    machine.wait_for_unit("multi-user.target")
    machine.execute("systemctl reboot --no-block", check_return=False, check_output=False)
    machine.wait_for_shutdown()
    join_all()
