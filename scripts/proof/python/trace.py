# Calls what a script for the NixOS test driver can use, and writes down what comes back: a value, or an exception. The proof `python` runs it under
# vmtest and under the original driver, and compares. Each line of STEPS is a statement, or expressions, of which each is a step; what comes of it is
# written to VMTEST_TRACE.
import ast
import json
import re
import threading

STEPS = r"""
# Names, before anything runs
sorted(one.name for one in driver.machines)
driver.machines_qemu == machines_qemu, driver.machines_nspawn == machines_nspawn == []
[vlan.nr for vlan in vlans], repr(vlan1), vlan1 is driver.vlans[0]
(vlan1.socket_dir / "ctl").exists(), type(vlan1.socket_dir).__name__
repr(machine), machine.name, isinstance(machine, BaseMachine), type(machine).__name__
machine.booted, machine.connected, machine.is_up()
machine.pid, machine.process, machine.qmp_client
machine.keep_machine_state, machine.get_console_log(), machine.full_console_log
machine.state_dir.is_dir(), machine.state_dir.name, machine.shared_dir.is_dir(), machine.shared_dir.name
machine.state_dir.parent == machine.tmp_dir, machine.out_dir == driver.out_dir, driver.out_dir.is_dir()
machine.logger is log, driver.logger is log, driver.debug is debug
type(machine.start_command._cmd).__name__, machine.start_command._cmd.split("/")[-1]
driver.polling_conditions, driver.global_timeout > 0, type(driver.tests).__name__
len(machine.callbacks), callable(machine.callbacks[0])
sorted({"start_all", "machine", "client", "vlan1", "t", "log", "driver"} - set(driver.test_symbols()))
os.__name__, "VMTEST_TRACE" in os.environ
debug.breakpoint(), debug.breakpoint("127.0.0.1", 4444)
machine.no_such_attribute
driver.no_such_attribute
no_such_name

# A machine that does not run
machine.shutdown()
machine.crash()
machine.wait_for_shutdown()
machine.release()
machine.wait_for_qmp_event(lambda event: True)
machine.ssh_backdoor_command(3)

# Logs
log.log("log"), log.log("log", {"machine": "web"}), log.debug("debug"), log.info("info"), log.warning("warning")
log.log_test_error("error"), log.log_serial("serial", "machine"), log.print_serial_logs(True), log.set_log_level(2)
log.error("error")
machine.log("log"), machine.log_serial("serial")
serial_stdout_off(), serial_stdout_on(), driver.serial_stdout_off(), driver.serial_stdout_on()
enter(log.nested("nested")), enter(log.subtest("a part")), enter(machine.nested("nested")), enter(machine.nested("nested", {"an": "attribute"}))
enter(subtest("a part")), enter(driver.subtest("a part"))
with subtest("raises"): raise ValueError("words")
with subtest("leaves"): raise SystemExit(0)
with machine.nested("raises"): raise KeyError("words")

# Assertions, retries, conditions
t.assertEqual(1, 1), t.assertIn(1, [1]), t.assertTrue(True)
t.assertEqual(1, 2)
t.assertTrue(False, "words")
t.assertRaises(ValueError, int, "x")
t.fail("words")
assert 1 == 2, "words"
retry(lambda last: True)
retry(lambda last: True, 1), retry(lambda last: True, timeout_seconds=1), retry(lambda last: 1), retry(lambda last: last, 0)
retry(lambda last: False, timeout_seconds=1)
retry(lambda last: False, 0)
retry(lambda last: raising(KeyError("words")))
retry(lambda last: looks.append(last) or last, 1), looks
entered(polling_condition(lambda: True))
entered(polling_condition(seconds_interval=1.0, description="described")(lambda: True))
entered(polling_condition(lambda: False))
entered(polling_condition(description="described")(lambda: False))
entered(polling_condition(documented))
entered(polling_condition(lambda: raising(KeyError("words"))))
entered(polling_condition(lambda: None))
polling_condition(lambda: True).wait(), polling_condition(lambda: True).wait(timeout=1)
polling_condition(documented).wait(timeout=1)
driver.check_polling_conditions()

# More machines
create_machine("/nix/store/x/bin/run-a-vm").name, create_machine("run-b-vm").name, create_machine("true", name="raw-2").name
create_machine("run-a-vm", name="d").name, create_machine(start_command="true", name="e", keep_machine_state=True).keep_machine_state
repr(create_machine("true", name="f")), create_machine("true", name="g").booted, create_machine("run-h-vm").start_command._cmd
len(driver.machines), create_machine("/nix/store/x/bin/run-i-vm -s").name
create_machine("true", "name")
create_machine()
raw.start_command._cmd
raw.start_command._cmd += " -s"
raw.start_command._cmd
raw.is_up(), raw.pid, raw.shutdown(), raw.crash(), raw.wait_for_shutdown()

# Starting
start_all(), driver.start_all(), machine.start(), machine.start(allow_reboot=False)
machine.booted, type(machine.pid).__name__, machine.process.pid == machine.pid, machine.process.poll(), machine.process.returncode
machine.connect(), machine.connected, machine.is_up()
machine.wait_for_unit("multi-user.target")
machine.wait_for_unit("multi-user.target", None, 60), machine.wait_for_unit("multi-user.target", timeout=60)

# Commands
machine.execute("true"), machine.execute("false"), machine.execute("exit 3"), machine.execute("echo a; exit 4")
machine.execute("echo out; echo err >&2"), machine.execute("printf 'no end'"), machine.execute("printf 'a\nb\n'")
machine.execute("echo \"$HOME $USER $PWD $0\""), machine.execute("echo $-"), machine.execute("id -u; umask")
machine.execute("false; echo after"), machine.execute("false | true"), machine.execute("true | false"), machine.execute("echo $no_such_variable")
machine.execute("echo 'single' \"double\" \\\\ `echo ticks` $((1 + 1))"), machine.execute("echo ä€𝄞")
machine.execute("printf '\\377a'"), machine.execute("printf 'a\\000b'"), machine.execute("printf '\\r\\n'")
machine.execute("# a comment"), machine.execute(""), machine.execute(" "), machine.execute("echo a # a comment")
machine.execute("echo a\necho b\n"), machine.execute("\n  echo a\n"), machine.execute("cat <<'end'\na  b\nend\n")
machine.execute("kill -9 $$"), machine.execute("kill $$"), machine.execute("no-such-command"), machine.execute("/etc/passwd")
machine.execute("echo 'unended"), machine.execute("if"), machine.execute("cd /tmp; pwd"), machine.execute("pwd"), machine.execute("export A=1"), machine.execute("echo ${A-unset}")
len(machine.execute("head -c 300000 /dev/zero | tr '\\0' x")[1]), machine.execute("sleep 60 >&2 & echo started")
machine.execute("sleep 10", timeout=1), machine.execute("echo a; sleep 10", timeout=1), machine.execute("true", timeout=None), machine.execute("true", True, True, 60)
machine.execute("echo a; exit 3", check_return=False), machine.execute("echo a", False)
machine.execute("[[ -n ${BASH_VERSION-} ]] && echo bash"), machine.execute("trap 'echo left' EXIT; exit 5"), machine.execute("exec echo replaced")
machine.execute("true &"), machine.execute("wait"), machine.execute("ulimit -n")
machine.execute(command="true", check_return=True, check_output=True, timeout=60)
machine.execute("true", no_such_argument=1)
machine.execute()
machine.succeed("echo a"), machine.succeed("echo a", "echo b"), machine.succeed(), machine.succeed(""), machine.succeed("echo a", timeout=60)
machine.succeed("exit 3")
machine.succeed("true", "echo said; exit 4", "echo not run")
machine.succeed("sleep 10", timeout=1)
machine.succeed("false\ntrue")
machine.fail("false"), machine.fail("echo a; false"), machine.fail("false", "exit 2"), machine.fail()
machine.fail("true")
machine.fail("")
machine.fail("false", "true")
machine.fail("sleep 10", timeout=1)
machine.wait_until_succeeds("echo a"), machine.wait_until_succeeds("echo a", 5), machine.wait_until_fails("echo a; false"), machine.wait_until_fails("false", timeout=5)
machine.wait_until_succeeds("false", timeout=1)
machine.wait_until_fails("true", timeout=1)
machine.sleep(1), machine.sleep(0.1)
machine.callbacks.append(lambda: raising(KeyError("words")))
machine.succeed("true")
machine.wait_for_file("/etc/passwd")
machine.callbacks.pop() and None
entered(polling_condition(lambda: False, seconds_interval=0.0), lambda: machine.succeed("true"))
entered(polling_condition(lambda: machine.succeed("true") == "", seconds_interval=0.0), lambda: machine.succeed("echo a"))
in_thread(lambda: machine.succeed("echo a")), in_thread(lambda: client.succeed("echo b"))
machine.shell.send(b"touch /tmp/sent\n"), machine.wait_for_file("/tmp/sent")

# Units
machine.systemctl("is-active multi-user.target"), machine.systemctl("is-active none.service"), machine.systemctl("no-such-verb")
machine.systemctl("show-environment", "nobody")[0]
machine.get_unit_info("backdoor.service")["Id"], machine.get_unit_info("none.service")["LoadState"], type(machine.get_unit_info("none.service")).__name__
machine.get_unit_property("backdoor.service", "ActiveState"), machine.get_unit_property("none.service", "ActiveState"), machine.get_unit_property("backdoor.service", "WantedBy")
machine.get_unit_property("backdoor.service", "NoSuchProperty")
machine.get_unit_property("backdoor.service", "")
machine.get_unit_info("a b")
machine.get_unit_info("x@.service")
machine.require_unit_state("backdoor.service"), machine.require_unit_state("backdoor.service", "active"), machine.require_unit_state("none.service", "inactive")
machine.require_unit_state("backdoor.service", "failed")
machine.require_unit_state("none.service")
machine.wait_for_unit("none.service")
machine.start_job("fails.service")[0], machine.start_job("none.service")[0], machine.stop_job("none.service")[0], machine.start_job("works.service"), machine.stop_job("works.service")
machine.wait_for_unit("fails.service")
machine.wait_for_unit("works.service")
machine.start_job("--no-block sleeps.service"), machine.wait_for_unit("sleeps.service", timeout=1)
machine.wait_for_unit("none.service", timeout=1)
machine.stop_job("sleeps.service")
machine.wait_for_unit("none.service", "no-such-user")

# Files, ports, sockets
machine.wait_for_file("/etc/passwd"), machine.wait_for_file("/etc/pass*", 5), machine.wait_for_file("~", timeout=5)
machine.wait_for_file("/none", timeout=1)
machine.wait_for_closed_port(81), machine.wait_for_closed_port(81, "127.0.0.1", 5)
machine.wait_for_open_port(81, timeout=1)
machine.succeed("(nc -lk 8080 >/dev/null 2>&1 </dev/null &)"), machine.wait_for_open_port(8080), machine.wait_for_open_port(8080, "127.0.0.1", 5), machine.wait_for_open_port(port=8080, addr="localhost", timeout=5)
machine.wait_for_closed_port(8080, timeout=1)
machine.succeed("(nc -lkU /tmp/stream >/dev/null 2>&1 </dev/null &)"), machine.wait_for_open_unix_socket("/tmp/stream"), machine.wait_for_open_unix_socket("/tmp/stream", False, 5)
machine.wait_for_open_unix_socket("/tmp/none", timeout=1)
machine.copy_from_host_via_shell(os.environ["VMTEST_TRACE_FILE"], "/tmp/made/by/copy"), machine.succeed("cat /tmp/made/by/copy; stat -c %a /tmp/made/by/copy")
machine.copy_from_host_via_shell("/no/such/file", "/tmp/none")

# Monitors
"running" in machine.send_monitor_command("info status"), machine.send_monitor_command("info status").endswith("(qemu) ")
"unknown command" in machine.send_monitor_command("no-such-command")
machine.qmp_client.send("query-status")["return"]["running"], machine.qmp_client.send("query-name")["return"] == {}
machine.qmp_client.send("no-such-command")
machine.qmp_client.send("query-status", {"no": "argument"})
qmp_error("no-such-command")
machine.qmp_client.send("stop"), machine.wait_for_qmp_event(lambda event: event["event"] == "STOP", timeout=10)["event"], machine.qmp_client.send("cont")
sorted(machine.wait_for_qmp_event(lambda event: event["event"] == "RESUME", 10))
type(machine.qmp_client.events()).__name__

# The network
client.wait_for_unit("multi-user.target"), client.wait_until_succeeds("ping -c 1 -W 1 192.168.1.1", timeout=60) and None
machine.block(), client.execute("ping -c 1 -W 1 192.168.1.1")[0], machine.unblock(), client.wait_until_succeeds("ping -c 1 -W 1 192.168.1.1", timeout=60) and None
machine.forward_port(free_port, 8080), connects(free_port)

# The screen, the keyboard, consoles
"login" in machine.get_tty_text("1"), machine.wait_until_tty_matches("1", "login:"), machine.wait_until_tty_matches("1", "login:", 5), machine.dump_tty_contents("1")
machine.wait_until_tty_matches("1", "no such text", timeout=1)
machine.wait_until_tty_matches("1", "(", timeout=1)
machine.send_key("x"), machine.send_key("x", 0.01), machine.send_key("ret", delay=None, log=False), machine.send_chars("ab"), machine.send_chars("A-\n", 0.02)
machine.send_key("no-such-key")
machine.succeed("echo console-$((1 + 1)) >/dev/console"), machine.wait_for_console_text("console-2"), "console-2" in machine.get_console_log(), "console-2" in machine.full_console_log
machine.wait_for_console_text("no such text", timeout=1)
machine.send_console("\n")
machine.get_window_names()
machine.wait_for_x(timeout=1)

# The end
client.shutdown(), client.booted, client.connected, client.pid, client.is_up(), client.shutdown()
client.succeed("echo again"), client.is_up()
client.crash(), client.is_up(), client.pid, client.wait_for_shutdown()
client.start(allow_reboot=True), client.succeed("touch /tmp/before"), client.reboot(), client.connected, client.execute("test -e /tmp/before")[0]
client.succeed("(sleep 1; poweroff) >/dev/null 2>&1 &"), client.wait_for_shutdown(), client.booted
machine.execute("poweroff", check_output=False), machine.wait_for_shutdown(), machine.booted
join_all(), driver.join_all()
"""


def raising(error):
    raise error


def documented():
    """a documented condition"""
    return False


def enter(context):
    with context:
        return None


def entered(poll, use=driver.check_polling_conditions):
    with poll:
        return use(), len(driver.polling_conditions)


def in_thread(fn):
    results = []
    thread = threading.Thread(target=lambda: results.append(fn()))
    thread.start()
    thread.join()
    return results


def qmp_error(command):
    try:
        machine.qmp_client.send(command)
    except Exception as error:
        return type(error).__name__, error.class_name, error.description


def connects(port):
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=30):
        return True


def unused_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


looks = []
free_port = unused_port()
raw = create_machine("true", name="raw")


def told(text):
    """Without what is different in each run."""
    text = re.sub(r"\d+\.\d\d seconds", "N seconds", text)
    return re.sub(r"transaction \S+", "transaction N", text)


def base_of(error):
    """The nearest class that is Python's own: what a script catches it by."""
    return next(one.__name__ for one in type(error).__mro__ if one.__module__ == "builtins")


def parts_of(line):
    """The steps of a line, and how each is run."""
    try:
        body = ast.parse(line, mode="eval").body
    except SyntaxError:
        return [(line, exec)]
    return [(ast.get_source_segment(line, part), eval) for part in (body.elts if isinstance(body, ast.Tuple) else [body])]


def done(step, run):
    try:
        return {"gives": told(repr(run(step, globals())))}
    except BaseException as error:
        return {"raises": type(error).__name__, "is": base_of(error), "says": told(str(error))}


with open(os.environ["VMTEST_TRACE"], "w") as trace:
    for line in STEPS.splitlines():
        for step, run in [] if line == "" or line.startswith("#") else parts_of(line):
            trace.write(json.dumps({"step": step, **done(step, run)}) + "\n")
            trace.flush()
