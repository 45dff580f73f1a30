# What the guest says on its console, and what is typed into it.
machine.start()
machine.wait_for_unit("multi-user.target")

with subtest("a line is found once"):
    machine.succeed("echo 'the first line' > /dev/console")
    machine.wait_for_console_text("the f.rst line")
    with t.assertRaises(Exception):
        machine.wait_for_console_text("the first line", timeout=2)

with subtest("and over several lines, and while it is not there yet"):
    machine.execute("(sleep 1; printf 'one\\ntwo\\nthree\\n' > /dev/console) >/dev/null 2>&1 &")
    machine.wait_for_console_text("one\ntwo", timeout=60)
    machine.wait_for_console_text("^three$|three", timeout=60)

with subtest("the log has all of it"):
    lines = machine.get_console_log().split("\n")
    assert "the first line" in lines and "two" in lines
    assert machine.full_console_log == lines

with subtest("what is typed arrives"):
    machine.succeed("systemctl stop serial-getty@ttyS0.service || true; stty -F /dev/ttyS0 sane -echo")
    machine.execute("(head -n 1 < /dev/ttyS0 > /tmp/typed) >/dev/null 2>&1 &")
    machine.sleep(1)
    machine.send_console("hello there\n")
    machine.wait_until_succeeds("grep -q 'hello there' /tmp/typed", timeout=60)
