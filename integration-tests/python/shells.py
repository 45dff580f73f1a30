# Commands that detach, whose status nobody wants, and lines for the shell itself.
machine.wait_for_unit("multi-user.target")

with subtest("statuses and outputs"):
    assert machine.execute("echo out; echo err >&2; exit 3") == (3, "out\n")
    assert machine.execute("echo out", check_return=False) == (-1, "out\n")
    assert machine.execute("touch /tmp/unseen", check_output=False) == (-2, "")
    machine.wait_for_file("/tmp/unseen")
    assert machine.succeed("echo one", "echo two") == "one\ntwo\n"
    assert machine.fail("echo one; false", "echo two; exit 9") == "one\ntwo\n"

with subtest("pipefail, unset variables, quotes"):
    assert machine.execute("false | true")[0] == 1
    assert machine.execute("echo $unset_variable")[0] != 0
    assert machine.succeed("""printf '%s|' "a b" 'c"d' $'e\\tf'""") == 'a b|c"d|e\tf|'
    assert machine.succeed("cat <<EOF\nline $((1 + 1))\nEOF\n") == "line 2\n"

with subtest("a child that goes on holds nothing back"):
    machine.succeed("sleep 300 >&2 &", "(setsid sleep 300 &) ")
    machine.succeed("pgrep -c sleep")

with subtest("lines for the shell"):
    machine.shell.send(b"echo from the shell > /tmp/line\n")
    machine.wait_for_file("/tmp/line")
    assert machine.succeed("cat /tmp/line") == "from the shell\n"

with subtest("outputs of any length and any bytes"):
    assert len(machine.succeed("head -c 20000000 /dev/zero | tr '\\0' x")) == 20_000_000
    assert machine.succeed("printf 'a\\377b'") == "a\ufffdb"
    assert machine.succeed("printf '\\303\\244 \\360\\237\\230\\200'") == "\u00e4 \U0001f600"
