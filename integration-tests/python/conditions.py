# Conditions that must hold while the test waits.
machine.wait_for_unit("multi-user.target")
machine.succeed("systemd-run --unit=held sleep infinity")


@polling_condition
def held():
    "the unit runs"
    machine.succeed("systemctl is-active held")


@polling_condition(seconds_interval=0.5, description="there is no file /stop")
def not_stopped():
    return machine.execute("test -e /stop")[0] != 0


held.wait(timeout=30)
with held:
    machine.succeed("true")
    with not_stopped:
        machine.wait_until_succeeds("true")

with subtest("a condition that breaks ends the wait, long before its timeout"):
    machine.execute("(sleep 2; touch /stop) >/dev/null 2>&1 &")
    try:
        with not_stopped:
            machine.wait_for_file("/never", timeout=300)
    except Exception as error:
        assert str(error) == "Polling condition failed: there is no file /stop", error
    else:
        raise Exception("nothing was raised")

assert driver.polling_conditions == []
machine.succeed("systemctl stop held")
