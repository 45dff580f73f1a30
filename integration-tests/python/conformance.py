# Every global, method and attribute of the NixOS test driver, called at least once. A test checks that none is missing here.
import datetime
import os as os_of_python
import pathlib
import socket
import tempfile

import test_driver.machine
from test_driver.driver import Driver
from test_driver.errors import MachineError, RequestedAssertionFailed
from test_driver.machine.qmp import QMPAPIError


def raises(kind, fn, words=""):
    try:
        fn()
    except kind as error:
        assert words in str(error), (words, str(error))
        return error
    raise Exception(f"{kind} was not raised")


minute = datetime.timedelta(minutes=1)

with subtest("globals before anything runs"):
    assert os is os_of_python
    assert isinstance(driver, Driver) and machines == driver.machines and sorted(one.name for one in machines) == ["client", "machine"]
    assert machines_qemu == driver.machines_qemu and machines_nspawn == driver.machines_nspawn == []
    assert vlans == driver.vlans == [vlan1] and vlan1.nr == 1 and isinstance(vlan1.socket_dir, pathlib.Path)
    assert Machine is QemuMachine and issubclass(QemuMachine, BaseMachine) and issubclass(NspawnMachine, BaseMachine)
    assert test_driver.machine.Machine is QemuMachine
    assert isinstance(machine, QemuMachine) and machine.name == "machine" and repr(machine) == "<QemuMachine 'machine'>"
    assert callable(test_script) and callable(run_tests) and callable(driver.test_script) and callable(driver.run_tests)
    assert set(driver.test_symbols()) >= {"machine", "client", "start_all", "vlan1", "t"}
    assert "conformance" in driver.tests or "Every global" in driver.tests
    assert driver.out_dir.is_dir() and driver.logger is log and driver.debug is debug
    assert driver.global_timeout > 0 and set(driver.config.vms) == {"client", "machine"} and driver.config.vlans == [1]
    assert debug.breakpoint("127.0.0.1", 4444) is None
    serial_stdout_off()
    serial_stdout_on()
    driver.serial_stdout_off()
    driver.serial_stdout_on()
    dump_machine_ssh(2)
    driver.dump_machine_ssh(2)
    assert callable(driver.terminate_test)

with subtest("logs"):
    log.log("log")
    log.debug("debug")
    log.info("info")
    log.warning("warning")
    log.log_test_error("log_test_error")
    log.log_serial("log_serial", "machine")
    log.set_log_level(1)
    log.print_serial_logs(True)
    with log.nested("nested"), log.subtest("subtest of the log"), driver.subtest("subtest of the driver"):
        pass
    raises(SystemExit, lambda: log.error("error"))
    machine.log("of a machine")
    machine.log_serial("of its console")
    assert machine.logger is log
    with machine.nested("nested", {"an": "attribute"}):
        pass

with subtest("a machine that does not run"):
    assert not machine.booted and not machine.connected and not machine.is_up()
    assert machine.pid is None and machine.process is None and machine.qmp_client is None
    assert machine.keep_machine_state is False and machine.get_console_log() == ""
    assert machine.state_dir.is_dir() and machine.shared_dir.is_dir() and machine.tmp_dir.is_dir()
    assert machine.out_dir == driver.out_dir
    machine.wait_for_shutdown()
    machine.shutdown()
    machine.crash()
    raises(RuntimeError, lambda: machine.wait_for_qmp_event(lambda event: True), "QMP API is not ready")
    raises(MachineError, lambda: machine.start_command._cmd, "no start script")
    raises(MachineError, lambda: setattr(machine.start_command, "_cmd", "true"), "declaration")
    raw = create_machine("qemu-system-x86_64 -nodefaults", name="raw", keep_machine_state=True)
    assert raw.name == "raw" and not raw.booted and raw.start_command._cmd == "qemu-system-x86_64 -nodefaults"
    raw.start_command._cmd += " -s"
    assert raw.start_command._cmd.endswith(" -s")
    assert driver.create_machine("/bin/run-another-vm -nodefaults").name == "another"
    assert raw not in machines
    raises(AttributeError, lambda: machine.monitor, "use send_monitor_command")

with subtest("starting"):
    os.environ["CONFORMANCE"] = "1"
    # The first start says what a reboot does; the others find the machine running.
    machine.start(allow_reboot=True)
    start_all()
    driver.start_all()
    assert machine.booted
    machine.connect()
    assert machine.connected and machine.is_up()
    assert machine.pid > 0 and os.path.isdir(f"/proc/{machine.pid}")
    process = machine.process
    assert process.pid == machine.pid and process.poll() is None and process.returncode is None
    process.stdin.write(b"")
    process.stdin.flush()

with subtest("commands"):
    assert machine.execute("echo 1; exit 2", check_return=True, check_output=True, timeout=minute) == (2, "1\n")
    assert machine.execute("echo 1", check_return=False) == (-1, "1\n")
    assert machine.execute("true", check_output=False) == (-2, "")
    assert machine.succeed("echo 1", "echo 2", timeout=60) == "1\n2\n"
    assert machine.fail("echo 1; false", timeout=60) == "1\n"
    raises(RequestedAssertionFailed, lambda: machine.succeed("exit 3"), "command `exit 3` failed (exit code 3)")
    raises(RequestedAssertionFailed, lambda: machine.fail("true"), "command `true` unexpectedly succeeded")
    assert machine.wait_until_succeeds("echo 1", timeout=60) == "1\n"
    assert machine.wait_until_fails("echo 1; false", 60) == "1\n"
    machine.sleep(1)
    machine.sleep(datetime.timedelta(milliseconds=10))
    assert machine.shell.send(b"touch /tmp/sent\n") == 16
    machine.shell.sendall(b"true\n")
    machine.shell.close()
    machine.callbacks.append(lambda: counted.append(1))
    counted = []
    machine.run_callbacks()
    machine.succeed("true")
    assert len(counted) == 2
    machine.callbacks.pop()

with subtest("units"):
    machine.wait_for_unit("multi-user.target", timeout=300)
    machine.wait_for_unit("multi-user.target", None, 60)
    assert machine.systemctl("is-active multi-user.target") == (0, "active\n")
    assert machine.get_unit_info("nginx.service")["Id"] == "nginx.service"
    assert machine.get_unit_property("nginx.service", "Id") == "nginx.service"
    machine.require_unit_state("nginx.service")
    machine.require_unit_state("nginx.service", "active")
    raises(RequestedAssertionFailed, lambda: machine.require_unit_state("nginx", "failed"), "but it is in state 'active'")
    assert machine.stop_job("nginx.service")[0] == 0
    assert machine.start_job("nginx.service")[0] == 0
    raises(RequestedAssertionFailed, lambda: machine.wait_for_unit("none.service"), "is inactive and there are no pending jobs")

with subtest("units of a user, as that user"):
    machine.succeed("useradd --create-home carol", "loginctl enable-linger carol")
    machine.wait_for_unit("default.target", "carol", 300)
    status, said = machine.systemctl("show-environment", user="carol")
    assert status == 0 and "\nUSER=carol\n" in f"\n{said}", said
    machine.succeed(
        "mkdir -p /home/carol/.config/systemd/user",
        "printf '[Service]\\nExecStart=sleep infinity\\n' >/home/carol/.config/systemd/user/carols.service",
    )
    machine.systemctl("daemon-reload", "carol")
    assert machine.start_job("carols.service", "carol") == (0, "")
    machine.wait_for_unit("carols.service", user="carol", timeout=60)
    assert machine.get_unit_info("carols.service", user="carol")["ActiveState"] == "active"
    pid = machine.get_unit_property("carols.service", "MainPID", user="carol")
    assert machine.succeed(f"ps -o user= -p {pid}") == "carol\n"
    assert machine.stop_job("carols.service", user="carol") == (0, "")
    raises(RequestedAssertionFailed, lambda: machine.wait_for_unit("carols.service", "carol"), "is inactive and there are no pending jobs")
    raises(MachineError, lambda: machine.wait_for_unit("carols.service", "no-such-user"), "no-such-user does not exist")

with subtest("files, ports, sockets"):
    machine.wait_for_file("/tmp/sent", timeout=60)
    machine.wait_for_open_port(80)
    machine.wait_for_open_port(80, "localhost", 60)
    machine.wait_for_closed_port(81)
    machine.wait_for_closed_port(81, addr="127.0.0.1", timeout=60)
    machine.wait_for_open_unix_socket("/run/systemd/private", False, 60)
    machine.wait_for_open_unix_socket("/dev/log", is_datagram=True)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"content\n")
        file.flush()
        machine.copy_from_host(file.name, "/root/a")
        machine.copy_from_host_via_shell(file.name, "/root/b/c")
    assert machine.succeed("cat /root/a /root/b/c") == "content\ncontent\n"
    machine.copy_from_machine("/root/a")
    machine.copy_from_vm("/root/b", "folder")
    assert (machine.out_dir / "a").read_text() == (machine.out_dir / "folder" / "b" / "c").read_text() == "content\n"

with subtest("monitors"):
    assert "VM status" in machine.send_monitor_command("info status")
    assert machine.wait_for_monitor_prompt().endswith("(qemu) ")
    client_ = machine.qmp_client
    assert client_.send("query-status")["return"]["running"] is True
    raises(QMPAPIError, lambda: client_.send("none"), "CommandNotFound")
    list(client_.events())
    client_.send("stop", {})
    assert client_.wait_for_event(timeout=60)["event"] == "STOP"
    client_.send("cont")
    assert machine.wait_for_qmp_event(lambda event: event["event"] == "RESUME", timeout=60)["event"] == "RESUME"
    client_.close()

with subtest("the network"):
    client.wait_for_unit("multi-user.target")
    machine.block()
    client.fail("ping -c 1 -W 1 machine")
    machine.unblock()
    client.wait_until_succeeds("ping -c 1 -W 1 machine", timeout=60)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    machine.forward_port(host_port=port, guest_port=80)
    socket.create_connection(("127.0.0.1", port), timeout=30).close()
    assert machine.ssh_backdoor_command(3) == "ssh -o User=root vsock/3"
    assert driver.vhost_vsock is None
    for end in ("vsock_host", "vsock_guest"):
        assert not hasattr(machine, end)

with subtest("the screen"):
    machine.wait_until_tty_matches("1", "login:", timeout=120)
    assert "login:" in machine.get_tty_text("1")
    machine.dump_tty_contents("1")
    machine.wait_for_text("login:", timeout=120)
    assert "login:" in machine.get_screen_text() and machine.get_screen_text_variants()
    machine.send_key("x", delay=0.01, log=True)
    machine.send_key("0x0e")
    machine.send_chars("ab", delay=0.02)
    machine.send_chars("c", None)
    machine.screenshot("conformance")
    assert (machine.out_dir / "conformance.png").is_file()
    raises(Exception, lambda: machine.wait_for_x(timeout=1), "timed out")
    raises(Exception, lambda: machine.get_window_names())
    raises(Exception, lambda: machine.wait_for_window("x", timeout=1))
    raises(Exception, lambda: machine.shell_interact("unix:/tmp/socket"), "without an address")
    raises(Exception, lambda: machine.shell_interact())
    raises(Exception, lambda: machine.console_interact())

with subtest("the console"):
    machine.succeed("echo conformance > /dev/console")
    machine.wait_for_console_text("conformance", timeout=60)
    assert "conformance" in machine.get_console_log() and "conformance" in machine.full_console_log
    machine.send_console("\n")

with subtest("conditions and retries"):

    @polling_condition
    def holds():
        return True

    with holds:
        driver.check_polling_conditions()
        assert len(driver.polling_conditions) == 1
    driver.polling_condition(lambda: None, seconds_interval=1.0, description="another").wait(timeout=60)
    retry(lambda last: True)
    retry(lambda last: True, timeout_seconds=10)
    t.assertEqual(1, 1)

with subtest("the end"):
    raises(MachineError, lambda: machine.switch_root(), "initrd")
    machine.reboot()
    assert machine.succeed("cut -d. -f1 /proc/uptime")
    machine.connected = False
    machine.booted = True
    machine._disconnected = False
    process = machine.process
    process.terminate()
    assert process.wait(timeout=60) == -9 and process.poll() == -9 and process.returncode == -9
    machine.start()
    machine.succeed("true")
    machine.process.kill()
    machine.release()
    machine.cleanup_statedir()
    client.shutdown()
    join_all()
    driver.join_all()
    assert not any(one.is_up() for one in machines)
