# The words of tests: assertions, subtests, logs, exceptions that are caught.
import re
from test_driver.driver import Driver
from test_driver.errors import MachineError, RequestedAssertionFailed

assert isinstance(driver, Driver) and isinstance(machine, QemuMachine) and isinstance(machine, BaseMachine)
machine.log("this is told of the machine")
log.info("this is told of the test")
log.warning("so is this")
with machine.nested("a part of it"), log.nested("and a part of that"):
    machine.succeed("true")

with subtest("assertions"):
    t.assertEqual(machine.succeed("echo 1").strip(), "1")
    t.assertIn("root", machine.succeed("whoami"))
    t.assertTrue(re.match(r"\d+", machine.succeed("id -u")))
    t.assertGreater(float(machine.succeed("cut -d' ' -f1 /proc/uptime")), 0)
    with t.assertRaises(RequestedAssertionFailed):
        t.assertFalse(True)

with subtest("caught exceptions"):
    for wrong, words in [
        (lambda: machine.succeed("exit 5"), "command `exit 5` failed (exit code 5)"),
        (lambda: machine.fail("true"), "command `true` unexpectedly succeeded"),
    ]:
        try:
            wrong()
        except RequestedAssertionFailed as error:
            assert str(error) == words, error
        else:
            raise Exception("nothing was raised")

with subtest("what is not there is explained"):
    with t.assertRaises(MachineError):
        machine.start_command._cmd
    with t.assertRaisesRegex(AttributeError, "use send_monitor_command"):
        machine.monitor

failed = False
try:
    with subtest("a failure that is handled"):
        raise ValueError("on purpose")
except ValueError:
    failed = True
assert failed
