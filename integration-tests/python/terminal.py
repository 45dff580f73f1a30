# The screen, the keyboard, and the terminals behind it.
machine.wait_for_unit("multi-user.target")

with subtest("somebody logs in"):
    machine.wait_until_tty_matches("1", "login: ", timeout=120)
    machine.send_chars("root\n")
    machine.wait_until_tty_matches("1", r"root@machine:~# ", timeout=120)

with subtest("keys arrive, all of them"):
    machine.send_chars("echo 'Hello, World! 1+1=2 [ok]' > /tmp/typed\n")
    machine.wait_for_file("/tmp/typed", timeout=60)
    assert machine.succeed("cat /tmp/typed") == "Hello, World! 1+1=2 [ok]\n"
    machine.send_chars("echo ")
    machine.send_key("a")
    machine.send_key("shift-b", delay=0.05)
    machine.send_key("ret", log=False)
    machine.wait_until_tty_matches("1", r"(?m)^aB", timeout=60)
    assert "aB" in machine.get_tty_text("1")
    machine.dump_tty_contents("1")
    machine.wait_until_succeeds("journalctl --no-pager | grep -q 'echo aB'", timeout=60)

with subtest("the screen shows them"):
    machine.wait_for_text(r"(?m)^[a-z]B$", timeout=120)
    assert "echo aB" in machine.get_screen_text()
    assert any("echo aB" in text for text in machine.get_screen_text_variants())
    machine.screenshot("terminal")
    assert (machine.out_dir / "terminal.png").read_bytes().startswith(b"\x89PNG")
    machine.screenshot(str(machine.state_dir / "elsewhere.png"))
    assert (machine.state_dir / "elsewhere.png").is_file()
