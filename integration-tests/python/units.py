# Units that work, that fail, and that are not there.
machine.wait_for_unit("multi-user.target")

with subtest("a unit that fails ends the wait at once"):
    machine.succeed("systemd-run --unit=broken --service-type=oneshot --no-block sh -c 'echo last words; exit 3'")
    with t.assertRaises(Exception) as caught:
        machine.wait_for_unit("broken.service", timeout=60)
    assert str(caught.exception) == 'unit "broken.service" reached state "failed"', caught.exception

with subtest("so does one that nothing will start"):
    with t.assertRaisesRegex(Exception, 'unit "nothing.service" is inactive and there are no pending jobs'):
        machine.wait_for_unit("nothing.service", timeout=60)

with subtest("what systemd says of a unit is a dictionary"):
    machine.succeed("systemd-run --unit=fine sleep infinity")
    machine.wait_for_unit("fine")
    info = machine.get_unit_info("fine.service")
    assert info["ActiveState"] == "active" and info["SubState"] == "running", info
    assert machine.get_unit_property("fine.service", "ExecMainPID") == info["ExecMainPID"]

with subtest("systemctl gives its status and its output"):
    status, output = machine.systemctl("is-active fine.service")
    assert (status, output) == (0, "active\n")
    status, output = machine.systemctl("is-active nothing.service")
    assert status != 0 and output == "inactive\n", (status, output)

with subtest("a state that is not the wanted one is told"):
    with t.assertRaises(Exception) as caught:
        machine.require_unit_state("fine.service", "failed")
    assert "Expected unit 'fine.service' to to be in state 'failed' but it is in state 'active'" in str(caught.exception)

assert machine.stop_job("fine.service") == (0, "")
machine.require_unit_state("fine.service", "inactive")

with subtest("a user has units of their own, which run as that user"):
    machine.succeed("useradd --create-home carol", "loginctl enable-linger carol")
    machine.wait_for_unit("default.target", "carol")
    folder = "/home/carol/.config/systemd/user"
    unit = "[Service]\\nExecStart=sh -c 'id -un >%%h/who; exec sleep infinity'\\n"
    machine.succeed(f'mkdir -p {folder} && printf "{unit}" >{folder}/carols.service && chown -R carol: /home/carol')
    assert machine.systemctl("daemon-reload", "carol") == (0, "")
    assert machine.start_job("carols.service", user="carol") == (0, "")
    machine.wait_for_unit("carols.service", user="carol", timeout=60)
    machine.wait_until_succeeds("grep -qx carol /home/carol/who", timeout=60)
    pid = machine.get_unit_property("carols.service", "MainPID", user="carol")
    assert machine.succeed(f"ps -o user= -p {pid}") == "carol\n"
    assert machine.get_unit_info("carols.service", "carol")["FragmentPath"] == f"{folder}/carols.service"
    # The system's manager does not know it.
    status, output = machine.systemctl("is-active carols.service")
    assert status != 0 and output == "inactive\n", (status, output)
    assert machine.stop_job("carols.service", "carol") == (0, "")
    assert machine.systemctl("is-active carols.service", user="carol") == (3, "inactive\n")
