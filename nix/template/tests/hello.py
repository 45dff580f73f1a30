start_all()

with subtest("commands run"):
    assert machine.succeed("echo hello").strip() == "hello"

with subtest("a command can fail"):
    status, _ = machine.execute("exit 3")
    assert status == 3
