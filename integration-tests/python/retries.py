# What is tried until it works, and what never does.
import datetime
import time

machine.wait_for_unit("multi-user.target")
counts = {"tries": 0}


def third(last):
    counts["tries"] += 1
    return counts["tries"] >= 3


retry(third)
assert counts["tries"] == 3

with subtest("a wait gives the output of the last try"):
    machine.execute("(sleep 2; echo ready > /tmp/state) >/dev/null 2>&1 &")
    assert machine.wait_until_succeeds("cat /tmp/state") == "ready\n"
    machine.execute("(sleep 1; rm /tmp/state) >/dev/null 2>&1 &")
    machine.wait_until_fails("cat /tmp/state", timeout=60)

with subtest("a wait that ends too late says after how long"):
    start = time.monotonic()
    with t.assertRaisesRegex(Exception, r"action timed out after \d+\.\d\d seconds \(timeout=2\)"):
        machine.wait_until_succeeds("false", timeout=2)
    assert time.monotonic() - start < 20
    with t.assertRaisesRegex(Exception, r"timeout=1\)"):
        retry(lambda last: False, timeout_seconds=1)

with subtest("a command that takes too long has the status of timeout(1)"):
    status, output = machine.execute("echo begun; sleep 60", timeout=2)
    assert (status, output) == (124, "begun\n"), (status, output)
    with t.assertRaisesRegex(Exception, "exit code 124"):
        machine.succeed("sleep 60", timeout=datetime.timedelta(seconds=1))
    machine.sleep(1)
